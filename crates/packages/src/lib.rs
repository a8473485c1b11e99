//! Catalogers: file to packages, and the version order of each ecosystem. Pure.
