//! Writes the fuzz target's first inputs, made of the golden logs, into `FOLDER/stream`.

use std::error::Error;
use std::path::Path;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = env::args_os().nth(1).ok_or("usage: fuzz_seeds FOLDER")?;
    let folder = Path::new(&folder).join("stream");
    fs::create_dir_all(&folder)?;
    for (number, input) in cdc_postgres::fuzzing::seeds().iter().enumerate() {
        fs::write(folder.join(format!("{number:03}")), input)?;
    }
    Ok(())
}
