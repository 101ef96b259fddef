//! Writes the custom resource definitions: to standard output, with `--write [DIR]` one file each into the chart, and with
//! `--reference [DIR]` one page for people each into the manual.

use std::{
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => print(),
        ["--write"] => write(&root.join("charts/lodge-crds/templates")),
        ["--write", directory] => write(&PathBuf::from(directory)),
        ["--reference"] => write_reference(&root.join("docs/reference")),
        ["--reference", directory] => write_reference(&PathBuf::from(directory)),
        _ => Err("usage: crdgen [--write [DIRECTORY] | --reference [DIRECTORY]]".into()),
    }
}

fn print() -> Result<(), Error> {
    let mut output = io::stdout().lock();
    for definition in lodge_crds::definitions() {
        write!(output, "---\n{}", lodge_crds::to_yaml(&definition)?)?;
    }
    Ok(())
}

fn write(directory: &Path) -> Result<(), Error> {
    fs::create_dir_all(directory)?;
    for definition in lodge_crds::definitions() {
        let name = definition.metadata.name.as_deref().ok_or("a definition without a name")?;
        fs::write(directory.join(format!("{name}.yaml")), lodge_crds::to_yaml(&definition)?)?;
    }
    Ok(())
}

fn write_reference(directory: &Path) -> Result<(), Error> {
    fs::create_dir_all(directory)?;
    for definition in lodge_crds::definitions() {
        let page = directory.join(format!("{}.md", definition.spec.names.plural));
        fs::write(page, lodge_crds::to_reference(&definition))?;
    }
    Ok(())
}
