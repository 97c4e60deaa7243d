//! src/schema.rs is what prost makes of introspection.proto. With `WRITE_SCHEMA=1` it is written.

use std::{env, fs, path::Path};

#[test]
fn the_schema_is_up_to_date() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = env::temp_dir().join(format!("schema-{}", std::process::id()));
    fs::create_dir_all(&out).unwrap();
    let root = here.join("../..");
    prost_build::Config::new()
        .out_dir(&out)
        .compile_protos(&[root.join("introspection.proto")], &[root])
        .expect("protoc is needed");
    let made = fs::read_to_string(out.join("introspection.rs")).unwrap();
    fs::remove_dir_all(out).unwrap();
    let file = here.join("src/schema.rs");
    if env::var_os("WRITE_SCHEMA").is_some() {
        fs::write(&file, &made).unwrap();
    }
    let differs = made != fs::read_to_string(file).unwrap_or_default();
    assert!(
        !differs,
        "introspection.proto has changed: WRITE_SCHEMA=1 cargo test --test schema"
    );
}
