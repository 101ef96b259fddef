//! Writes the custom resource definitions: to standard output, or with `--write [DIR]` one file each into the chart.

use std::{
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => print(),
        ["--write"] => write(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/lodge-crds/templates")),
        ["--write", directory] => write(&PathBuf::from(directory)),
        _ => Err("usage: crdgen [--write [DIRECTORY]]".into()),
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
