//! Digest to evidence: legacy tag and referrers, one fetch of each, everything bounded.
