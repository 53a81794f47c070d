//! reservd.
