//! Images in registries: the OCI distribution specification 1.1 as a client.
//!
//! [`Client::open`] finds an image by its name and gives it as a [`palisade_image::Image`],
//! whose layers stream from the registry while they are read: blobs are fetched in parallel
//! into files that readers follow, go on where they broke off, and are proved. Mirrors,
//! certificates and credentials are those that Docker and Podman use on the machine.
//! [`Client::referrers`] lists what refers to an image, [`Client::attach`] adds to that;
//! [`Client::copy`] pushes an image.
//!
//! Invariants:
//! - no byte is believed before its digest is checked, no size before it is counted;
//! - a secret goes to the registry that it is for, or to the service that this registry
//!   names, over TLS unless the host is this machine or was named for plain HTTP;
//! - every answer, wait, redirect and list has a bound.
//!
//! The crate starts one kind of process: credential helpers.
#![forbid(unsafe_code)]

mod attach;
mod attached;
mod auth;
mod blobs;
mod cache;
mod challenge;
mod client;
mod copy;
mod credentials;
mod error;
mod fetch;
mod helper;
mod hosts;
mod manifest;
mod public;
mod push;
mod referrers;
mod url;

pub use attach::{Listed, Referrer};
pub use attached::Attached;
pub use blobs::BlobOptions;
pub use cache::BlobCache;
pub use challenge::{Challenge, parse_challenges};
pub use client::{Client, ClientSettings, Observer, Silent, said};
pub use copy::{Copied, CopyError, CopySource};
pub use credentials::{AuthFile, Credentials, CredentialsError, Secret};
pub use error::{RegistryError, Said};
pub use helper::HelperError;
pub use hosts::{HostFiles, Hosts, Place};
pub use manifest::{Found, media_type};
