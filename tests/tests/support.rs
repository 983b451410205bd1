//! docs/support.md says what the tables say. `MIMIC_BLESS=1` rewrites it.

use std::path::Path;

#[test]
fn the_support_page_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/support.md");
    let page = mimic_linux::support_markdown();
    if std::env::var_os("MIMIC_BLESS").is_some_and(|value| value == "1") {
        std::fs::create_dir_all(path.parent().expect("it is in a folder")).expect("docs can be made");
        std::fs::write(&path, &page).expect("docs/support.md can be written");
    }
    let known = std::fs::read_to_string(&path).unwrap_or_default().replace("\r\n", "\n");
    let different = known.lines().zip(page.lines()).find(|(known, new)| known != new);
    assert!(
        known == page,
        "docs/support.md is not what the tables say; MIMIC_BLESS=1 cargo test -p mimic-tests --test support rewrites it\n{different:?}"
    );
}
