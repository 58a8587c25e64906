//! Manifests and indexes that are read, and those that are refused.

use proptest::prelude::*;

use super::*;

const HEX: &str = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

fn descriptor() -> String {
    format!(r#"{{"mediaType":"m","size":2,"digest":"sha256:{HEX}"}}"#)
}

fn manifest() -> String {
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{d},"layers":[{d}],"annotations":null}}"#,
        media_type::OCI_MANIFEST,
        d = descriptor()
    )
}

fn index() -> String {
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{}]}}"#,
        media_type::OCI_INDEX,
        descriptor()
    )
}

#[test]
fn reads_what_registries_serve() {
    for claimed in [None, Some(media_type::OCI_MANIFEST)] {
        let manifest = parse_manifest(manifest().as_bytes(), claimed).unwrap();
        assert_eq!((manifest.layers.len(), manifest.config.size), (1, 2));
        let again = serde_json::to_vec(&manifest).unwrap();
        assert_eq!(parse_manifest(&again, claimed), Ok(manifest));
    }
    let silent =
        manifest().replace(&format!("\"mediaType\":\"{}\",", media_type::OCI_MANIFEST), "");
    let read = parse_manifest(silent.as_bytes(), Some(media_type::DOCKER_MANIFEST)).unwrap();
    assert_eq!(read.media_type, None);
    let list = index().replace(media_type::OCI_INDEX, media_type::DOCKER_LIST);
    assert_eq!(parse_index(list.as_bytes(), None).unwrap().manifests.len(), 1);
    let null = r#"{"schemaVersion":2,"manifests":null}"#;
    assert!(
        parse_index(null.as_bytes(), Some(media_type::OCI_INDEX)).unwrap().manifests.is_empty()
    );
}

#[test]
fn media_types_must_agree() {
    let mismatch = parse_manifest(manifest().as_bytes(), Some(media_type::DOCKER_MANIFEST));
    assert!(matches!(mismatch, Err(InvalidManifest::MediaTypeMismatch { .. })));
    let as_index = parse_index(manifest().as_bytes(), Some(media_type::OCI_INDEX));
    assert!(matches!(as_index, Err(InvalidManifest::MediaTypeMismatch { .. })));
    let wrong_kind = parse_manifest(index().as_bytes(), Some(media_type::OCI_INDEX));
    assert!(matches!(wrong_kind, Err(InvalidManifest::MediaType(_))));
    let both = manifest().replace("\"layers\"", "\"manifests\":[],\"layers\"");
    assert_eq!(parse_manifest(both.as_bytes(), None), Err(InvalidManifest::Ambiguous));
    let both = index().replace("\"manifests\"", "\"layers\":[],\"manifests\"");
    assert_eq!(parse_index(both.as_bytes(), None), Err(InvalidManifest::Ambiguous));
}

#[test]
fn refuses_what_is_ambiguous_malformed_or_unbounded() {
    let refused = |from: &str, to: &str| {
        let text = manifest().replacen(from, to, 1);
        assert_ne!(text, manifest(), "{from}");
        parse_manifest(text.as_bytes(), None).unwrap_err()
    };
    let json = |error| matches!(error, InvalidManifest::Json(_));
    assert!(json(refused("\"size\":2", "\"size\":2,\"size\":3")));
    assert!(json(refused("\"size\":2", "\"size\":2,\"Size\":3")));
    assert!(json(refused("\"layers\"", "\"Layers\":[],\"layers\"")));
    assert!(json(refused("null", r#"{"a":"1","a":"2"}"#)));
    assert!(json(refused("null}", "null}}")));
    assert!(json(refused("null", &"[".repeat(200))));
    let layers = format!("{}{}", format!("{},", descriptor()).repeat(MAX_LAYERS), descriptor());
    let many = manifest().replace(&format!("[{}]", descriptor()), &format!("[{layers}]"));
    let too_many = InvalidJson::TooManyEntries { field: "layers", limit: MAX_LAYERS };
    assert_eq!(parse_manifest(many.as_bytes(), None), Err(InvalidManifest::Json(too_many)));
    let shape = |error| matches!(error, InvalidManifest::Shape(_));
    assert!(shape(refused("\"size\":2", "\"size\":-2")));
    assert!(shape(refused("\"size\":2", "\"size\":18446744073709551616")));
    assert!(shape(refused("sha256:", "md5:")));
    assert!(shape(refused("\"config\"", "\"konfig\"")));
    assert_eq!(refused("n\":2", "n\":1"), InvalidManifest::SchemaVersion(1));
    assert_eq!(refused("n\":2", "n\":\"2\""), InvalidManifest::SchemaVersion(0));
    let large = vec![b' '; MAX_MANIFEST + 1];
    assert!(json(parse_manifest(&large, None).unwrap_err()));
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes: Vec<u8>) {
        let _ = parse_manifest(&bytes, None);
        let _ = parse_index(&bytes, None);
    }

    #[test]
    fn a_flipped_byte_never_panics(at in 0usize..400, byte: u8) {
        let mut bytes = manifest().into_bytes();
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = parse_manifest(&bytes, None);
        let _ = parse_index(&bytes, None);
    }
}
