//! What we write is read back; what others write is understood; what is wrong is refused with
//! its place.

use super::*;
use crate::report::tests::full;
use crate::sbom::{DocumentInfo, Format, render};
use palisade_base::Timestamp;
use palisade_model::package::PackageState;
use palisade_model::{Package, PackageKind};

fn info() -> DocumentInfo {
    DocumentInfo::derived(b"seed", Timestamp::from_nanos(1_795_326_835_000_000_000), "0.1.0")
}

/// An inventory with everything that a form may lose.
fn inventory() -> Inventory {
    let mut inventory = full().inventory;
    let owner = inventory.packages[1].purl.clone();
    let mut add = |package: Package, is_part: bool| {
        let list = if is_part { &mut inventory.parts } else { &mut inventory.packages };
        list.push(package);
    };
    let language = |kind, name: &str, version: &str, purl: &str, evidence: &str| Package {
        purl: purl.into(),
        ..Package::new(kind, name, version, evidence)
    };
    add(
        Package {
            owner: Some(owner),
            ..language(
                PackageKind::Python,
                "PyYAML",
                "6.0",
                "pkg:pypi/pyyaml@6.0",
                "/usr/lib/python3/dist-packages/PyYAML-6.0.dist-info/METADATA",
            )
        },
        true,
    );
    add(
        Package {
            state: PackageState::Declared,
            licences: vec!["MIT".into()],
            ..language(
                PackageKind::Node,
                "@angular/core",
                "1.0.0",
                "pkg:npm/%40angular/core@1.0.0",
                "/app/package-lock.json",
            )
        },
        false,
    );
    add(
        language(
            PackageKind::Maven,
            "org.a:b",
            "1",
            "pkg:maven/org.a/b@1",
            "/app.war!/WEB-INF/lib/b.jar",
        ),
        false,
    );
    inventory
}

/// What every form keeps of a package.
fn kept(package: &Package, has_layers: bool) -> Package {
    let mut kept = package.clone();
    kept.files.clear();
    if !has_layers {
        kept.layer = None;
        kept.maintainer = None;
    }
    kept
}

#[test]
fn our_own_documents_are_read_back() {
    let inventory = inventory();
    for format in Format::ALL {
        let text = render(&inventory, format, &info()).unwrap();
        let document = read(text.as_bytes(), "x.json").unwrap();
        let is_cyclonedx = matches!(format, Format::Cyclonedx16 | Format::Cyclonedx17);
        let found = &document.inventory;
        assert_eq!(found.subject.name, inventory.subject.name, "{format:?}");
        assert_eq!(found.subject.digest, inventory.subject.digest, "{format:?}");
        let system = found.distribution.as_ref().unwrap();
        let expected = inventory.distribution.as_ref().unwrap();
        assert_eq!((&system.id, &system.version_id), (&expected.id, &expected.version_id));
        assert_eq!(system.name, expected.name);
        assert_eq!(found.gaps, inventory.gaps, "{format:?}");
        let all = |packages: &[Package]| -> Vec<Package> {
            packages
                .iter()
                .map(|package| {
                    let mut package = kept(package, is_cyclonedx);
                    // SPDX writes angle brackets of addresses as round ones.
                    if !is_cyclonedx {
                        package.maintainer = None;
                    }
                    package
                })
                .collect()
        };
        assert_eq!(all(&found.packages), all(&inventory.packages), "{format:?}");
        assert_eq!(all(&found.parts), all(&inventory.parts), "{format:?}");
        assert!(document.unmatched.is_empty() && document.n_excluded == 0);
    }
}

#[test]
fn a_document_converted_in_a_circle_is_the_same() {
    let first = read(render(&inventory(), Format::Cyclonedx16, &info()).unwrap().as_bytes(), "x");
    let mut inventory = first.unwrap().inventory;
    let start = inventory.clone();
    for format in [Format::Spdx23, Format::Spdx30, Format::Cyclonedx17, Format::Cyclonedx16] {
        let text = render(&inventory, format, &info()).unwrap();
        inventory = read(text.as_bytes(), "x").unwrap().inventory;
    }
    let purls = |inventory: &Inventory| {
        inventory.packages.iter().map(|p| (p.purl.clone(), p.source.clone())).collect::<Vec<_>>()
    };
    assert_eq!(purls(&inventory), purls(&start));
    assert_eq!(inventory.parts.len(), start.parts.len());
}

#[test]
fn documents_of_others_are_understood() {
    let text = r#"{"bomFormat":"CycloneDX","specVersion":"1.5","version":1,
        "metadata":{"component":{"type":"container","name":"nginx","bom-ref":"r"}},
        "components":[
          {"type":"operating-system","name":"debian","version":"12.4"},
          {"type":"library","name":"libssl3","version":"3.0.11-1","bom-ref":"a",
           "purl":"pkg:deb/debian/libssl3@3.0.11-1?arch=amd64&distro=debian-12.4",
           "supplier":{"name":"Debian"},
           "licenses":[{"license":{"id":"Apache-2.0"}},{"license":{"name":"other"}}],
           "properties":[{"name":"aquasecurity:trivy:SrcName","value":"openssl"},
                         {"name":"aquasecurity:trivy:SrcVersion","value":"3.0.11"},
                         {"name":"aquasecurity:trivy:SrcRelease","value":"1"}]},
          {"type":"application","name":"package-lock.json","bom-ref":"b"},
          {"type":"file","name":"/etc/passwd"},
          {"type":"library","name":"x","purl":"pkg:swift/github.com/a/x@1"},
          {"type":"library","name":"dev","scope":"excluded","purl":"pkg:npm/dev@1"}]}"#;
    let document = read(text.as_bytes(), "x.json").unwrap();
    assert_eq!(document.format, "CycloneDX 1.5");
    let [package] = &document.inventory.packages[..] else { panic!("{document:?}") };
    let source = package.source.as_ref().unwrap();
    assert_eq!((source.name.as_str(), source.version.as_str()), ("openssl", "3.0.11-1"));
    assert_eq!(package.licences, ["Apache-2.0", "other"]);
    assert_eq!(package.maintainer.as_deref(), Some("Debian"));
    assert_eq!(document.inventory.distribution.unwrap().version_id, "12.4");
    assert_eq!(document.n_excluded, 1);
    let unmatched: Vec<&str> = document.unmatched.iter().map(|u| u.ecosystem.as_str()).collect();
    assert_eq!(unmatched, ["swift", "unknown"]);

    let text = r#"{"spdxVersion":"SPDX-2.2","SPDXID":"SPDXRef-DOCUMENT","name":"n",
        "dataLicense":"CC0-1.0","documentNamespace":"https://x/y",
        "creationInfo":{"created":"2026-01-01T00:00:00Z","creators":["Tool: x"]},
        "packages":[{"SPDXID":"SPDXRef-a","name":"musl","versionInfo":"1.2.4-r2",
          "downloadLocation":"NOASSERTION","licenseDeclared":"MIT","sourceInfo":"x",
          "externalRefs":[{"referenceCategory":"PACKAGE_MANAGER","referenceType":"purl",
            "referenceLocator":"pkg:apk/alpine/musl@1.2.4-r2?arch=x86_64&distro=3.18.4"}]}]}"#;
    let document = read(text.as_bytes(), "x.json").unwrap();
    assert_eq!(document.format, "SPDX 2.2");
    assert_eq!(document.inventory.packages[0].licences, ["MIT"]);
    let system = document.inventory.distribution.unwrap();
    assert_eq!((system.id.as_str(), system.version_id.as_str()), ("alpine", "3.18.4"));
}

#[test]
fn what_is_wrong_is_refused_with_its_place() {
    let check = |text: &str, expected: &str| {
        let error = read(text.as_bytes(), "x.json").unwrap_err();
        assert_eq!(error.to_string(), expected, "{text}");
        assert!(error.hint().is_some());
    };
    check("", "the bill of materials is not JSON (line 1, column 0)");
    check("{\n \"a\": }", "the bill of materials is not JSON (line 2, column 7)");
    check("<?xml version='1.0'?><bom/>", "the bill of materials is XML");
    check("[]", "the document is neither CycloneDX nor SPDX: it is no object");
    check("{}", "the document is neither CycloneDX nor SPDX: it has none of their fields");
    check(
        r#"{"bomFormat":"CycloneDX","specVersion":"9.9"}"#,
        "version `9.9` of CycloneDX is not read",
    );
    check(r#"{"spdxVersion":"SPDX-1.0"}"#, "version `SPDX-1.0` of SPDX is not read");
    check(
        r#"{"bomFormat":"Other","specVersion":"1.6"}"#,
        "the document is not valid CycloneDX 1.6: /bomFormat: `Other` is not `CycloneDX`",
    );
    check(
        r#"{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{"type":"libary","name":"x"}]}"#,
        "the document is not valid CycloneDX 1.6: /components/0/type: `libary` is not allowed, did you mean `library`?",
    );
    check(
        r#"{"spdxVersion":"SPDX-2.3","SPDXID":"SPDXRef-DOCUMENT","name":"n","dataLicense":"CC0-1.0",
            "documentNamespace":"https://x","creationInfo":{"created":"x"},
            "packages":[{"SPDXID":"a","name":"a","downloadLocation":"x"},{"name":"b","downloadLocation":"x"}]}"#,
        "the document is not valid SPDX 2.3: /packages/1: `SPDXID` is missing or no text; /packages/0/SPDXID: `a` is not of the form SPDXRef-…",
    );
    check(
        r#"{"@context":"https://example.org","@graph":[{"type":"Relationship","spdxId":"x"}]}"#,
        "the document is not valid SPDX 3.0: /@context: expected the context of SPDX 3.0; /@graph: there is no `CreationInfo` with a `specVersion`; /@graph/0: `creationInfo` is missing; /@graph/0: `from` is missing or no text; /@graph/0: `relationshipType` is missing or no text; /@graph/0: `to` is missing or empty",
    );
    let deep = format!("{{\"bomFormat\":{}", "[".repeat(100_000));
    assert!(matches!(read(deep.as_bytes(), "x"), Err(ReadSbomError::NotJson { .. })));
}

#[test]
fn the_structure_is_whole() {
    let structure = cyclonedx::STRUCTURE.as_ref().expect("cyclonedx.shape can be read");
    assert_eq!(structure.undefined(), Vec::<&str>::new());
}

#[test]
fn a_subject_without_a_name_is_called_as_its_document() {
    let check = |text: &str| {
        let document = read(text.as_bytes(), "x.json").unwrap();
        assert_eq!(document.inventory.subject.name, "x.json", "{text}");
    };
    check(r#"{"bomFormat":"CycloneDX","specVersion":"1.6"}"#);
    check(
        r#"{"@context":"https://spdx.org/rdf/3.0.1/spdx-context.jsonld","@graph":[
        {"type":"CreationInfo","@id":"_:c","specVersion":"3.0.1","created":"2026-11-22T05:53:55Z","createdBy":["urn:b"]},
        {"type":"software_Package","spdxId":"urn:a","creationInfo":"_:c","software_primaryPurpose":"container"}]}"#,
    );
}

#[test]
fn an_incomplete_document_has_a_gap() {
    let text = r#"{"bomFormat":"CycloneDX","specVersion":"1.6",
        "metadata":{"component":{"type":"container","name":"x","bom-ref":"r"}},
        "compositions":[{"aggregate":"incomplete","assemblies":["r"]}]}"#;
    let document = read(text.as_bytes(), "x.json").unwrap();
    assert_eq!(document.inventory.gaps.len(), 1);
}
