//! The project's check catalogue: numbers, severities and controls.
//!
//! The pairing of rows with controls is the project's own. Numbers of CIS and NIST are those
//! of the project's catalogue of checks, which was compared with the published lists. What the
//! Pod Security Standards demand was compared with Kubernetes' own checks; the names of their
//! controls and the chapters of the NSA/CISA guide were written from memory.

use palisade_model::Severity::{self, Critical, High, Low, Medium, Negligible};
use palisade_model::finding::Control;

/// A row of the catalogue.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Number: `RUN-001`.
    pub id: &'static str,
    /// What is wrong where it is violated.
    pub title: &'static str,
    /// How bad that is.
    pub severity: Severity,
    /// Inputs for which it is meant.
    pub inputs: &'static str,
    /// CIS Docker Benchmark 1.6.
    pub cis_docker: &'static [&'static str],
    /// CIS Kubernetes Benchmark 1.12.
    pub cis_kubernetes: &'static [&'static str],
    /// NIST SP 800-190.
    pub nist_800_190: &'static [&'static str],
    /// Kubernetes Pod Security Standards, level and control.
    pub pod_security: &'static [&'static str],
    /// NSA/CISA Kubernetes Hardening Guide 1.2, section.
    pub nsa_cisa: &'static [&'static str],
    /// Why no check here judges it; empty for rows that checks judge.
    pub elsewhere: &'static str,
}

impl Row {
    /// The controls, by framework.
    pub fn controls(&self) -> Vec<Control> {
        let frameworks = [
            ("CIS Docker 1.6", self.cis_docker),
            ("CIS Kubernetes 1.12", self.cis_kubernetes),
            ("Pod Security Standards", self.pod_security),
            ("NSA/CISA Kubernetes Hardening Guide 1.2", self.nsa_cisa),
            ("NIST SP 800-190", self.nist_800_190),
        ];
        let mut found = Vec::new();
        for (framework, ids) in frameworks {
            let control = |id: &&str| Control { framework: framework.into(), id: (*id).into() };
            found.extend(ids.iter().map(control));
        }
        found
    }
}

/// The row of a number.
pub fn row(id: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.id == id)
}

/// All rows.
#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    Row { id: "IMG-001", title: "No USER, or last USER is root/0", severity: High, inputs: "dockerfile, image", cis_docker: &["4.1"], cis_kubernetes: &[], nist_800_190: &["4.1.2"], pod_security: &[], nsa_cisa: &["Kubernetes Pod security"], elsewhere: "" },
    Row { id: "IMG-002", title: "Base image tag is latest or missing", severity: Medium, inputs: "dockerfile", cis_docker: &["4.2"], cis_kubernetes: &[], nist_800_190: &["4.1.5", "4.2.2"], pod_security: &[], nsa_cisa: &[], elsewhere: "" },
    Row { id: "IMG-003", title: "Base image not pinned by digest", severity: Low, inputs: "dockerfile", cis_docker: &["4.2"], cis_kubernetes: &[], nist_800_190: &["4.1.5", "4.2.2"], pod_security: &[], nsa_cisa: &[], elsewhere: "" },
    Row { id: "IMG-004", title: "Base image registry not in allow-list", severity: High, inputs: "dockerfile, image", cis_docker: &["4.2"], cis_kubernetes: &[], nist_800_190: &["4.1.5", "4.2.2"], pod_security: &[], nsa_cisa: &[], elsewhere: "" },
    Row { id: "IMG-005", title: "Secret in ENV/ARG/LABEL", severity: Critical, inputs: "dockerfile, image", cis_docker: &["4.10"], cis_kubernetes: &[], nist_800_190: &["4.1.4"], pod_security: &[], nsa_cisa: &["Kubernetes Pod security"], elsewhere: "" },
    Row { id: "IMG-006", title: "Secret file copied into a layer (keys, .env, cloud creds, kubeconfig)", severity: Critical, inputs: "dockerfile, image", cis_docker: &["4.10"], cis_kubernetes: &[], nist_800_190: &["4.1.4"], pod_security: &[], nsa_cisa: &["Kubernetes Pod security"], elsewhere: "" },
    Row { id: "IMG-007", title: "Secret removed in a later layer but still in history", severity: Critical, inputs: "image", cis_docker: &["4.10"], cis_kubernetes: &[], nist_800_190: &["4.1.4"], pod_security: &[], nsa_cisa: &[], elsewhere: "not judged: `scan` searches what is left of an image, not what a later layer removed; `IMG-005` sees secrets in build steps" },
    Row { id: "IMG-008", title: "ADD with remote URL (no checksum)", severity: Medium, inputs: "dockerfile", cis_docker: &["4.9", "4.11"], cis_kubernetes: &[], nist_800_190: &["4.1.5", "4.2.2"], pod_security: &[], nsa_cisa: &[], elsewhere: "" },
    Row { id: "IMG-009", title: "ADD used where COPY suffices", severity: Low, inputs: "dockerfile", cis_docker: &["4.9"], cis_kubernetes: &[], nist_800_190: &["4.1.2"], pod_security: &[], nsa_cisa: &[], elsewhere: "" },
    Row { id: "IMG-010", title: "Download piped to a shell", severity: High, inputs: "dockerfile", cis_docker: &["4.11"], cis_kubernetes: &[], nist_800_190: &["4.1.5", "4.2.2"], pod_security: &[], nsa_cisa: &[], elsewhere: "" },
    Row { id: "IMG-011", title: "TLS verification disabled (curl -k, wget --no-check-certificate, pip --trusted-host, npm strict-ssl, git/node/python env)", severity: High, inputs: "dockerfile", cis_docker: &["4.11"], cis_kubernetes: &[], nist_800_190: &["4.1.2", "4.2.1"], pod_security: &[], nsa_cisa: &[], elsewhere: "" },
    Row { id: "IMG-012", title: "Package signature check disabled", severity: High, inputs: "dockerfile", cis_docker: &["4.11"], cis_kubernetes: &[], nist_800_190: &["4.1.5", "4.2.2"], pod_security: &[], nsa_cisa: &[], elsewhere: "" },
    Row { id: "IMG-013", title: "Package index update alone in RUN", severity: Medium, inputs: "dockerfile", cis_docker: &["4.7"], cis_kubernetes: &[], nist_800_190: &["4.1.1"], pod_security: &[], nsa_cisa: &[], elsewhere: "" },
    Row { id: "IMG-014", title: "dist-upgrade in build", severity: Low, inputs: "dockerfile", cis_docker: &["4.3"], cis_kubernetes: &[], nist_800_190: &["4.1.2"], pod_security: &[], nsa_cisa: &[], elsewhere: "" },
    Row { id: "IMG-015", title: "Package cache left in layer", severity: Low, inputs: "dockerfile, image", cis_docker: &["4.3"], cis_kubernetes: &[], nist_800_190: &["4.1.2", "4.5.1"], pod_security: &[], nsa_cisa: &[], elsewhere: "" },
    Row { id: "IMG-016", title: "Recommended packages installed", severity: Low, inputs: "dockerfile", cis_docker: &["4.3"], cis_kubernetes: &[], nist_800_190: &["4.1.2", "4.5.1"], pod_security: &[], nsa_cisa: &[], elsewhere: "" },
    Row { id: "IMG-017", title: "Package versions unpinned", severity: Negligible, inputs: "dockerfile", cis_docker: &["4.11"], cis_kubernetes: &[], nist_800_190: &["4.1.5", "4.2.2"], pod_security: &[], nsa_cisa: &[], elsewhere: "" },
    Row { id: "IMG-018", title: "sudo used in RUN or installed", severity: Medium, inputs: "dockerfile, image", cis_docker: &["4.8"], cis_kubernetes: &[], nist_800_190: &["4.1.2"], pod_security: &[], nsa_cisa: &[], elsewhere: "" },
    Row { id: "IMG-019", title: "SSH exposed or sshd installed", severity: Medium, inputs: "dockerfile, image", cis_docker: &["5.7"], cis_kubernetes: &[], nist_800_190: &["4.1.2", "4.5.1"], pod_security: &[], nsa_cisa: &[], elsewhere: "" },
    Row { id: "IMG-020", title: "No HEALTHCHECK", severity: Negligible, inputs: "dockerfile, image", cis_docker: &["4.6"], cis_kubernetes: &[], nist_800_190: &["4.1.2"], pod_security: &[], nsa_cisa: &[], elsewhere: "" },
    Row { id: "IMG-021", title: "Several HEALTHCHECK, CMD or ENTRYPOINT", severity: Low, inputs: "dockerfile", cis_docker: &[], cis_kubernetes: &[], nist_800_190: &["4.1.2"], pod_security: &[], nsa_cisa: &[], elsewhere: "" },
    Row { id: "IMG-022", title: "WORKDIR relative or on a system directory", severity: Low, inputs: "dockerfile", cis_docker: &[], cis_kubernetes: &[], nist_800_190: &["4.1.2"], pod_security: &[], nsa_cisa: &[], elsewhere: "" },
    Row { id: "IMG-023", title: "Passwords set in build (chpasswd) or empty password in /etc/shadow", severity: Critical, inputs: "dockerfile, image", cis_docker: &["4.10"], cis_kubernetes: &[], nist_800_190: &["4.1.4"], pod_security: &[], nsa_cisa: &[], elsewhere: "" },
    Row { id: "IMG-024", title: "setuid/setgid or file capabilities in image", severity: Medium, inputs: "image", cis_docker: &["4.8"], cis_kubernetes: &[], nist_800_190: &["4.1.2"], pod_security: &[], nsa_cisa: &[], elsewhere: "another command: `scan` reports each as a dangerous file (`setuid`, `setgid`, `capabilities`)" },
    Row { id: "IMG-025", title: "World-writable files on PATH or in system directories", severity: Medium, inputs: "image", cis_docker: &["4.8"], cis_kubernetes: &[], nist_800_190: &["4.1.2"], pod_security: &[], nsa_cisa: &[], elsewhere: "another command: `scan` reports each as a dangerous file (`world-writable`)" },
    Row { id: "IMG-026", title: "Duplicate UID/GID or several UID 0", severity: High, inputs: "image", cis_docker: &["4.1"], cis_kubernetes: &[], nist_800_190: &["4.1.2"], pod_security: &[], nsa_cisa: &[], elsewhere: "another command: `scan` reports a second user 0 as a dangerous file (`duplicate-root`); other duplicates are not judged" },
    Row { id: "IMG-027", title: "Whole build context or .git copied", severity: Medium, inputs: "dockerfile, image", cis_docker: &["4.10"], cis_kubernetes: &[], nist_800_190: &["4.1.4"], pod_security: &[], nsa_cisa: &[], elsewhere: "" },
    Row { id: "IMG-028", title: "Sensitive host path declared as VOLUME", severity: Medium, inputs: "dockerfile", cis_docker: &["5.6"], cis_kubernetes: &[], nist_800_190: &["4.1.2"], pod_security: &[], nsa_cisa: &[], elsewhere: "" },
    Row { id: "IMG-029", title: "Shell-form ENTRYPOINT/CMD, or pipe without pipefail", severity: Negligible, inputs: "dockerfile", cis_docker: &[], cis_kubernetes: &[], nist_800_190: &["4.1.2"], pod_security: &[], nsa_cisa: &[], elsewhere: "" },
    Row { id: "IMG-030", title: "Image or base past end of life, or older than N days", severity: Medium, inputs: "image", cis_docker: &["4.4"], cis_kubernetes: &[], nist_800_190: &["4.1.1"], pod_security: &[], nsa_cisa: &["Kubernetes Pod security"], elsewhere: "" },
    Row { id: "IMG-031", title: "Image unsigned, or no SBOM/provenance attestation", severity: Medium, inputs: "image", cis_docker: &["4.5", "4.12"], cis_kubernetes: &["5.5.1"], nist_800_190: &["4.1.5", "4.2.2"], pod_security: &[], nsa_cisa: &["Kubernetes Pod security"], elsewhere: "another command: `verify`, and `images.verify` in a policy" },
    Row { id: "IMG-032", title: "Known-malicious file or package in image", severity: Critical, inputs: "image", cis_docker: &["4.3"], cis_kubernetes: &[], nist_800_190: &["4.1.3"], pod_security: &[], nsa_cisa: &[], elsewhere: "not judged: there is no list of malicious files or packages to compare with" },
    Row { id: "RUN-001", title: "privileged: true", severity: Critical, inputs: "compose, container, k8s, helm, terraform", cis_docker: &["5.5"], cis_kubernetes: &["5.2.2"], nist_800_190: &["4.4.3"], pod_security: &["baseline: Privileged Containers"], nsa_cisa: &["Kubernetes Pod security"], elsewhere: "" },
    Row { id: "RUN-002", title: "Container engine socket mounted", severity: Critical, inputs: "compose, container, k8s", cis_docker: &["5.32"], cis_kubernetes: &["5.2.11"], nist_800_190: &["4.4.3"], pod_security: &["baseline: HostPath Volumes"], nsa_cisa: &["Kubernetes Pod security"], elsewhere: "" },
    Row { id: "RUN-003", title: "Host PID namespace", severity: High, inputs: "compose, container, k8s", cis_docker: &["5.16"], cis_kubernetes: &["5.2.3"], nist_800_190: &["4.4.3", "4.3.4"], pod_security: &["baseline: Host Namespaces"], nsa_cisa: &["Kubernetes Pod security"], elsewhere: "" },
    Row { id: "RUN-004", title: "Host IPC namespace", severity: High, inputs: "compose, container, k8s", cis_docker: &["5.17"], cis_kubernetes: &["5.2.4"], nist_800_190: &["4.4.3", "4.3.4"], pod_security: &["baseline: Host Namespaces"], nsa_cisa: &["Kubernetes Pod security"], elsewhere: "" },
    Row { id: "RUN-005", title: "Host network namespace", severity: High, inputs: "compose, container, k8s", cis_docker: &["5.10"], cis_kubernetes: &["5.2.5"], nist_800_190: &["4.4.3", "4.3.4"], pod_security: &["baseline: Host Namespaces", "baseline: Host Probes / Lifecycle Hooks"], nsa_cisa: &["Kubernetes Pod security"], elsewhere: "" },
    Row { id: "RUN-006", title: "Host UTS or user namespace, or cgroupns host", severity: Medium, inputs: "compose, container, k8s", cis_docker: &["5.21", "5.31"], cis_kubernetes: &[], nist_800_190: &["4.4.3", "4.3.4"], pod_security: &[], nsa_cisa: &["Kubernetes Pod security"], elsewhere: "" },
    Row { id: "RUN-007", title: "Dangerous capability (SYS_ADMIN, SYS_MODULE, SYS_PTRACE, BPF, DAC_READ_SEARCH, NET_ADMIN, SYS_RAWIO)", severity: High, inputs: "compose, container, k8s", cis_docker: &["5.4"], cis_kubernetes: &["5.2.9"], nist_800_190: &["4.4.3"], pod_security: &["baseline: Capabilities"], nsa_cisa: &["Kubernetes Pod security"], elsewhere: "" },
    Row { id: "RUN-008", title: "NET_RAW not dropped", severity: Medium, inputs: "compose, container, k8s", cis_docker: &["5.4"], cis_kubernetes: &["5.2.8"], nist_800_190: &["4.4.3"], pod_security: &["restricted: Capabilities"], nsa_cisa: &["Kubernetes Pod security"], elsewhere: "" },
    Row { id: "RUN-009", title: "Capabilities not dropped to ALL", severity: Low, inputs: "compose, container, k8s", cis_docker: &["5.4"], cis_kubernetes: &["5.2.9"], nist_800_190: &["4.4.3"], pod_security: &["restricted: Capabilities"], nsa_cisa: &["Kubernetes Pod security"], elsewhere: "" },
    Row { id: "RUN-010", title: "no-new-privileges / allowPrivilegeEscalation not false", severity: Medium, inputs: "compose, container, k8s", cis_docker: &["5.26"], cis_kubernetes: &["5.2.6"], nist_800_190: &["4.4.3"], pod_security: &["restricted: Privilege Escalation"], nsa_cisa: &["Kubernetes Pod security"], elsewhere: "" },
    Row { id: "RUN-011", title: "seccomp unconfined", severity: High, inputs: "compose, container, k8s", cis_docker: &["5.22"], cis_kubernetes: &["5.6.2"], nist_800_190: &["4.4.3"], pod_security: &["baseline: Seccomp"], nsa_cisa: &["Kubernetes Pod security"], elsewhere: "" },
    Row { id: "RUN-012", title: "seccomp profile not set", severity: Low, inputs: "k8s", cis_docker: &["5.22"], cis_kubernetes: &["5.6.2"], nist_800_190: &["4.4.3"], pod_security: &["restricted: Seccomp"], nsa_cisa: &["Kubernetes Pod security"], elsewhere: "" },
    Row { id: "RUN-013", title: "AppArmor unconfined or SELinux label disabled/custom", severity: Medium, inputs: "compose, container, k8s", cis_docker: &["5.2", "5.3"], cis_kubernetes: &["5.6.3"], nist_800_190: &["4.4.3"], pod_security: &["baseline: AppArmor", "baseline: SELinux"], nsa_cisa: &["Kubernetes Pod security"], elsewhere: "" },
    Row { id: "RUN-014", title: "Writable root filesystem", severity: Medium, inputs: "compose, container, k8s", cis_docker: &["5.13"], cis_kubernetes: &["5.6.3"], nist_800_190: &["4.4.3"], pod_security: &[], nsa_cisa: &["Kubernetes Pod security"], elsewhere: "" },
    Row { id: "RUN-015", title: "Sensitive host path mounted", severity: High, inputs: "compose, container, k8s", cis_docker: &["5.6"], cis_kubernetes: &["5.2.11"], nist_800_190: &["4.4.3", "4.3.4"], pod_security: &["baseline: HostPath Volumes", "restricted: Volume Types"], nsa_cisa: &["Kubernetes Pod security"], elsewhere: "" },
    Row { id: "RUN-016", title: "Shared (bidirectional) mount propagation", severity: High, inputs: "compose, container, k8s", cis_docker: &["5.20"], cis_kubernetes: &[], nist_800_190: &["4.4.3", "4.3.4"], pod_security: &[], nsa_cisa: &["Kubernetes Pod security"], elsewhere: "" },
    Row { id: "RUN-017", title: "Host device exposed", severity: High, inputs: "compose, container", cis_docker: &["5.18"], cis_kubernetes: &[], nist_800_190: &["4.4.3", "4.3.4"], pod_security: &[], nsa_cisa: &[], elsewhere: "" },
    Row { id: "RUN-018", title: "Runs as UID 0 / runAsNonRoot not true", severity: Medium, inputs: "compose, container, k8s", cis_docker: &["4.1"], cis_kubernetes: &["5.2.7"], nist_800_190: &["4.4.3"], pod_security: &["restricted: Running as Non-root", "restricted: Running as Non-root user"], nsa_cisa: &["Kubernetes Pod security"], elsewhere: "" },
    Row { id: "RUN-019", title: "Low UID/GID or root supplementary group", severity: Low, inputs: "k8s", cis_docker: &["4.1"], cis_kubernetes: &["5.2.7"], nist_800_190: &["4.4.3"], pod_security: &[], nsa_cisa: &["Kubernetes Pod security"], elsewhere: "" },
    Row { id: "RUN-020", title: "No memory limit", severity: Low, inputs: "compose, container, k8s", cis_docker: &["5.11"], cis_kubernetes: &[], nist_800_190: &["4.4.3"], pod_security: &[], nsa_cisa: &["Kubernetes Pod security"], elsewhere: "" },
    Row { id: "RUN-021", title: "No CPU limit/request", severity: Negligible, inputs: "compose, container, k8s", cis_docker: &["5.12"], cis_kubernetes: &[], nist_800_190: &["4.4.3"], pod_security: &[], nsa_cisa: &["Kubernetes Pod security"], elsewhere: "" },
    Row { id: "RUN-022", title: "No PIDs limit", severity: Medium, inputs: "compose, container", cis_docker: &["5.29"], cis_kubernetes: &[], nist_800_190: &["4.4.3"], pod_security: &[], nsa_cisa: &[], elsewhere: "" },
    Row { id: "RUN-023", title: "Port published on all interfaces", severity: Medium, inputs: "compose, container", cis_docker: &["5.14"], cis_kubernetes: &[], nist_800_190: &["4.3.3", "4.4.2"], pod_security: &[], nsa_cisa: &[], elsewhere: "" },
    Row { id: "RUN-024", title: "hostPort or privileged port", severity: Medium, inputs: "compose, container, k8s", cis_docker: &["5.8"], cis_kubernetes: &["5.2.12"], nist_800_190: &["4.3.3", "4.4.2"], pod_security: &["baseline: Host Ports"], nsa_cisa: &["Network separation and hardening"], elsewhere: "" },
    Row { id: "RUN-025", title: "Unsafe sysctl", severity: Medium, inputs: "compose, container, k8s", cis_docker: &["5.4"], cis_kubernetes: &[], nist_800_190: &["4.4.3"], pod_security: &["baseline: Sysctls"], nsa_cisa: &["Kubernetes Pod security"], elsewhere: "" },
    Row { id: "RUN-026", title: "procMount Unmasked / masked paths removed", severity: High, inputs: "container, k8s", cis_docker: &[], cis_kubernetes: &[], nist_800_190: &["4.4.3"], pod_security: &["baseline: /proc Mount Type"], nsa_cisa: &["Kubernetes Pod security"], elsewhere: "" },
    Row { id: "RUN-027", title: "Secret in environment variable", severity: High, inputs: "compose, container, k8s", cis_docker: &["4.10"], cis_kubernetes: &["5.4.1"], nist_800_190: &["4.1.4"], pod_security: &[], nsa_cisa: &["Network separation and hardening"], elsewhere: "" },
    Row { id: "RUN-028", title: "Image by mutable tag in workload", severity: Low, inputs: "compose, k8s, helm", cis_docker: &["5.28"], cis_kubernetes: &["5.5.1"], nist_800_190: &["4.1.5", "4.2.2"], pod_security: &[], nsa_cisa: &["Kubernetes Pod security"], elsewhere: "" },
    Row { id: "RUN-029", title: "Image from unlisted registry", severity: Medium, inputs: "compose, k8s, helm", cis_docker: &["4.2"], cis_kubernetes: &["5.5.1"], nist_800_190: &["4.1.5", "4.2.2"], pod_security: &[], nsa_cisa: &["Kubernetes Pod security"], elsewhere: "" },
    Row { id: "RUN-030", title: "Windows HostProcess", severity: High, inputs: "k8s", cis_docker: &[], cis_kubernetes: &["5.2.10"], nist_800_190: &["4.4.3", "4.3.4"], pod_security: &["baseline: HostProcess"], nsa_cisa: &["Kubernetes Pod security"], elsewhere: "" },
    Row { id: "RUN-031", title: "hostUsers not false where supported (no user namespace)", severity: Negligible, inputs: "k8s", cis_docker: &["2.9"], cis_kubernetes: &[], nist_800_190: &["4.4.3", "4.3.4"], pod_security: &[], nsa_cisa: &["Kubernetes Pod security"], elsewhere: "" },
    Row { id: "K8S-001", title: "Service account token auto-mounted without need", severity: Medium, inputs: "k8s", cis_docker: &[], cis_kubernetes: &["5.1.6"], nist_800_190: &["4.3.1", "4.3.2"], pod_security: &[], nsa_cisa: &["Kubernetes Pod security"], elsewhere: "" },
    Row { id: "K8S-002", title: "Default service account used", severity: Low, inputs: "k8s", cis_docker: &[], cis_kubernetes: &["5.1.5"], nist_800_190: &["4.3.1", "4.3.2"], pod_security: &[], nsa_cisa: &["Authentication and authorization"], elsewhere: "" },
    Row { id: "K8S-003", title: "Workload in default or kube-system namespace", severity: Low, inputs: "k8s", cis_docker: &[], cis_kubernetes: &["5.6.4", "5.6.1"], nist_800_190: &["4.4.3", "4.3.4"], pod_security: &[], nsa_cisa: &["Network separation and hardening"], elsewhere: "" },
    Row { id: "K8S-004", title: "Namespace has no NetworkPolicy / no default deny", severity: Medium, inputs: "k8s", cis_docker: &[], cis_kubernetes: &["5.3.2"], nist_800_190: &["4.3.3", "4.4.2"], pod_security: &[], nsa_cisa: &["Network separation and hardening"], elsewhere: "" },
    Row { id: "K8S-005", title: "Service type LoadBalancer/NodePort/externalIPs without allow annotation", severity: Medium, inputs: "k8s", cis_docker: &[], cis_kubernetes: &[], nist_800_190: &["4.3.3", "4.4.2"], pod_security: &[], nsa_cisa: &["Network separation and hardening"], elsewhere: "" },
    Row { id: "K8S-006", title: "Ingress without TLS, or with snippet annotations", severity: High, inputs: "k8s", cis_docker: &[], cis_kubernetes: &[], nist_800_190: &["4.2.1", "4.3.5"], pod_security: &[], nsa_cisa: &["Network separation and hardening"], elsewhere: "" },
    Row { id: "K8S-007", title: "Secret material in ConfigMap", severity: High, inputs: "k8s", cis_docker: &[], cis_kubernetes: &["5.4.1"], nist_800_190: &["4.1.4"], pod_security: &[], nsa_cisa: &["Network separation and hardening"], elsewhere: "" },
    Row { id: "K8S-008", title: "No Pod Security Admission label or policy engine on namespace", severity: Medium, inputs: "k8s", cis_docker: &[], cis_kubernetes: &["5.2.1"], nist_800_190: &["4.4.3"], pod_security: &[], nsa_cisa: &["Kubernetes Pod security"], elsewhere: "" },
    Row { id: "K8S-009", title: "No liveness/readiness probe", severity: Negligible, inputs: "k8s", cis_docker: &[], cis_kubernetes: &[], nist_800_190: &["4.4.3"], pod_security: &[], nsa_cisa: &["Kubernetes Pod security"], elsewhere: "" },
    Row { id: "K8S-010", title: "Removed or deprecated apiVersion", severity: Low, inputs: "k8s, helm", cis_docker: &[], cis_kubernetes: &[], nist_800_190: &["4.1.2"], pod_security: &[], nsa_cisa: &["Upgrading and application security practices"], elsewhere: "" },
    Row { id: "RBAC-001", title: "cluster-admin bound to a user, group or service account outside system:", severity: High, inputs: "k8s", cis_docker: &[], cis_kubernetes: &["5.1.1"], nist_800_190: &["4.3.1", "4.3.2"], pod_security: &[], nsa_cisa: &["Authentication and authorization"], elsewhere: "" },
    Row { id: "RBAC-002", title: "Wildcard verb or resource", severity: High, inputs: "k8s", cis_docker: &[], cis_kubernetes: &["5.1.3"], nist_800_190: &["4.3.1", "4.3.2"], pod_security: &[], nsa_cisa: &["Authentication and authorization"], elsewhere: "" },
    Row { id: "RBAC-003", title: "Can read secrets cluster-wide", severity: Critical, inputs: "k8s", cis_docker: &[], cis_kubernetes: &["5.1.2"], nist_800_190: &["4.3.1", "4.3.2"], pod_security: &[], nsa_cisa: &["Authentication and authorization"], elsewhere: "" },
    Row { id: "RBAC-004", title: "Can bind, escalate or impersonate", severity: Critical, inputs: "k8s", cis_docker: &[], cis_kubernetes: &["5.1.8"], nist_800_190: &["4.3.1", "4.3.2"], pod_security: &[], nsa_cisa: &["Authentication and authorization"], elsewhere: "" },
    Row { id: "RBAC-005", title: "Can create pods/exec/attach or workloads", severity: High, inputs: "k8s", cis_docker: &[], cis_kubernetes: &["5.1.4"], nist_800_190: &["4.3.1", "4.3.2"], pod_security: &[], nsa_cisa: &["Authentication and authorization"], elsewhere: "" },
    Row { id: "RBAC-006", title: "nodes/proxy, CSR approval, token create, PV create", severity: High, inputs: "k8s", cis_docker: &[], cis_kubernetes: &["5.1.9", "5.1.10", "5.1.11", "5.1.13"], nist_800_190: &["4.3.1", "4.3.2"], pod_security: &[], nsa_cisa: &["Authentication and authorization"], elsewhere: "" },
    Row { id: "RBAC-007", title: "Can change admission webhooks or policies", severity: Critical, inputs: "k8s", cis_docker: &[], cis_kubernetes: &["5.1.12"], nist_800_190: &["4.3.1", "4.3.2"], pod_security: &[], nsa_cisa: &["Authentication and authorization"], elsewhere: "" },
    Row { id: "RBAC-008", title: "system:anonymous / unauthenticated / authenticated bound to a non-default role", severity: Critical, inputs: "k8s", cis_docker: &[], cis_kubernetes: &["5.1.7"], nist_800_190: &["4.3.1", "4.3.2"], pod_security: &[], nsa_cisa: &["Authentication and authorization"], elsewhere: "" },
    Row { id: "CLU-001", title: "API server anonymous auth or AlwaysAllow", severity: Critical, inputs: "node", cis_docker: &[], cis_kubernetes: &["1.2.1", "1.2.6"], nist_800_190: &["4.3.1", "4.3.2"], pod_security: &[], nsa_cisa: &["Authentication and authorization"], elsewhere: "" },
    Row { id: "CLU-002", title: "Audit log off or policy missing", severity: Medium, inputs: "node, k8s", cis_docker: &[], cis_kubernetes: &["1.2.16", "3.2.1"], nist_800_190: &["4.3.2"], pod_security: &[], nsa_cisa: &["Audit Logging and Threat Detection"], elsewhere: "" },
    Row { id: "CLU-003", title: "Secrets not encrypted at rest", severity: High, inputs: "node", cis_docker: &[], cis_kubernetes: &["1.2.27"], nist_800_190: &["4.1.4"], pod_security: &[], nsa_cisa: &["Network separation and hardening"], elsewhere: "" },
    Row { id: "CLU-004", title: "Kubelet read-only port, anonymous auth or weak TLS", severity: Critical, inputs: "node", cis_docker: &[], cis_kubernetes: &["4.2.1", "4.2.2", "4.2.4"], nist_800_190: &["4.2.1", "4.3.5"], pod_security: &[], nsa_cisa: &["Network separation and hardening"], elsewhere: "" },
    Row { id: "CLU-005", title: "etcd without client certificate auth or TLS", severity: Critical, inputs: "node", cis_docker: &[], cis_kubernetes: &["2.1", "2.2"], nist_800_190: &["4.2.1", "4.3.5"], pod_security: &[], nsa_cisa: &["Network separation and hardening"], elsewhere: "" },
    Row { id: "ENG-001", title: "Docker daemon TCP socket without TLS", severity: Critical, inputs: "host", cis_docker: &["2.7"], cis_kubernetes: &[], nist_800_190: &["4.2.1", "4.3.5"], pod_security: &[], nsa_cisa: &[], elsewhere: "not decidable: needs the host on which the engine runs" },
    Row { id: "ENG-002", title: "Insecure registry configured", severity: High, inputs: "host", cis_docker: &["2.5"], cis_kubernetes: &[], nist_800_190: &["4.2.1", "4.3.5"], pod_security: &[], nsa_cisa: &[], elsewhere: "not decidable: needs the host on which the engine runs" },
    Row { id: "ENG-003", title: "userns-remap, live-restore, icc, no-new-privileges daemon settings", severity: Medium, inputs: "host", cis_docker: &["2.2", "2.9", "2.14", "2.15"], cis_kubernetes: &[], nist_800_190: &["4.5.1", "4.5.5"], pod_security: &[], nsa_cisa: &[], elsewhere: "not decidable: needs the host on which the engine runs" },
    Row { id: "ENG-004", title: "Engine files and directories: owner and mode", severity: Medium, inputs: "host", cis_docker: &["3.1", "3.2", "3.15", "3.16"], cis_kubernetes: &[], nist_800_190: &["4.5.1", "4.5.5"], pod_security: &[], nsa_cisa: &[], elsewhere: "not decidable: needs the host on which the engine runs" },
    Row { id: "ENG-005", title: "Engine files and binaries not audited", severity: Low, inputs: "host", cis_docker: &["1.1.3"], cis_kubernetes: &[], nist_800_190: &["4.3.2"], pod_security: &[], nsa_cisa: &["Audit Logging and Threat Detection"], elsewhere: "not decidable: needs the host on which the engine runs" },
];
