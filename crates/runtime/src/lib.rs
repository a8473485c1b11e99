//! Runs a container from an image with the least privilege, on runc or crun.
