//! Lets binaries and tests of this package find the libduckdb.so they were linked to.
//!
//! A link argument covers its own package only, so every package with programs that reach DuckDB has this
//! file. Without `DUCKDB_LIB_DIR` (DuckDB bundled or in the system) there is nothing to say.

fn main() {
    println!("cargo:rerun-if-env-changed=DUCKDB_LIB_DIR");
    if let Ok(folder) = std::env::var("DUCKDB_LIB_DIR") {
        // The folder of the program itself comes first, so that the two can be shipped side by side.
        println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN,-rpath,{folder}");
    }
}
