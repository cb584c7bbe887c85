//! Writes the fuzz targets' first inputs, made of the golden log files, into `FOLDER/log` and
//! `FOLDER/statements`.

use std::error::Error;
use std::path::Path;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = env::args_os().nth(1).ok_or("usage: fuzz_seeds FOLDER")?;
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/decode/testdata");
    for entry in fs::read_dir(files)? {
        let path = entry?.path();
        if path.extension().is_none_or(|it| it != "binlog") {
            continue;
        }
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let (logs, texts) =
            cdc_mysql::fuzzing::seeds(&fs::read(&path)?, name.starts_with("mariadb"));
        for (target, inputs) in [("log", logs), ("statements", texts)] {
            let folder = Path::new(&folder).join(target);
            fs::create_dir_all(&folder)?;
            for (number, input) in inputs.iter().enumerate() {
                fs::write(folder.join(format!("{name}-{number:03}")), input)?;
            }
        }
    }
    Ok(())
}
