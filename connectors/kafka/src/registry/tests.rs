//! The registry's errors, by one that says what it is told to.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;

use arrow::datatypes::DataType;
use cdc_api::{Column, ErrorKind, Identity, TableId, TableName, TableSchema};

use super::Registry;
use crate::config::{Register, RegistryConfig, Subjects};

/// Answers one request each with these, and gives what was asked.
fn registry(answers: Vec<(u16, &'static str)>) -> (RegistryConfig, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its own").port();
    let served = std::thread::spawn(move || {
        let mut asked = Vec::new();
        for (status, body) in answers {
            let (mut stream, _) = listener.accept().expect("is asked");
            let mut request = Vec::new();
            let mut part = [0; 4096];
            loop {
                let length = stream.read(&mut part).expect("is read");
                request.extend_from_slice(&part[..length]);
                let text = String::from_utf8_lossy(&request).to_lowercase();
                let Some((head, body)) = text.split_once("\r\n\r\n") else {
                    continue;
                };
                let wanted = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: "))
                    .map_or(0, |length| length.parse::<usize>().expect("a number"));
                if body.len() >= wanted {
                    break;
                }
            }
            asked.push(String::from_utf8(request).expect("text"));
            let answer = format!(
                "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).expect("is answered");
        }
        asked
    });
    let config = RegistryConfig {
        url: Some(format!("http://127.0.0.1:{port}/")),
        ..RegistryConfig::default()
    };
    (config, served)
}

fn table() -> Arc<TableSchema> {
    Arc::new(TableSchema::new(
        TableId(7),
        TableName::new("public", "t"),
        1,
        vec![Column::new("id", DataType::Int32, "integer")],
        vec![0],
        Identity::Key,
    ))
}

#[test]
fn a_schema_is_registered_once_by_a_user() {
    let (mut config, served) = registry(vec![(200, "{\"id\":17}")]);
    config.username = Some("cdc".to_owned());
    config.password = Some("secret".to_owned());
    let registry = Registry::new(&config).expect("a registry");
    for _ in 0..2 {
        let id = registry
            .id("t-value", "\"int\"", &table())
            .expect("has one");
        assert_eq!(id, 17);
    }
    let asked = served.join().expect("answers").remove(0);
    assert!(asked.starts_with("POST /subjects/t-value/versions HTTP/1.1\r\n"));
    assert!(asked.contains("Basic Y2RjOnNlY3JldA=="), "{asked}");
    assert!(asked.ends_with("{\"schema\":\"\\\"int\\\"\"}"), "{asked}");
}

#[test]
fn what_it_refuses_stops_the_table_with_the_remedy() {
    for (status, register, kind, stops, hint) in [
        (
            409,
            Register::Auto,
            ErrorKind::Unsupported,
            true,
            "\"compatibility\": \"NONE\"",
        ),
        (
            422,
            Register::Auto,
            ErrorKind::Unsupported,
            true,
            "names: avro",
        ),
        (
            404,
            Register::Existing,
            ErrorKind::Unsupported,
            true,
            "schemas: auto",
        ),
        (401, Register::Auto, ErrorKind::Auth, false, "username"),
        (500, Register::Auto, ErrorKind::Transient, false, ""),
    ] {
        let (mut config, served) = registry(vec![(status, "{\"message\":\"no\"}")]);
        config.schemas = register;
        let registry = Registry::new(&config).expect("a registry");
        let error = registry
            .id("s", "\"int\"", &table())
            .expect_err("is refused");
        assert_eq!(error.kind(), kind, "{status}: {error}");
        assert_eq!(error.table().is_some(), stops, "{status}");
        assert!(
            error.hint_text().unwrap_or_default().contains(hint),
            "{error:?}"
        );
        served.join().expect("answers");
    }
}

#[test]
fn the_latest_has_to_have_the_same_fields() {
    const OURS: &str = "{\"type\":\"record\",\"name\":\"V\",\"namespace\":\"a.b\",\"fields\":[\
         {\"name\":\"x\",\"type\":[\"null\",\"int\"],\"default\":null}],\"connect.name\":\"a.b.V\"}";
    const OTHER: &str = "{\"id\":3,\"schema\":\"{\\\"type\\\":\\\"record\\\",\\\"name\\\":\\\"V\\\",\
         \\\"doc\\\":\\\"d\\\",\\\"fields\\\":[{\\\"name\\\":\\\"x\\\",\\\"type\\\":[\\\"null\\\",\
         {\\\"type\\\":\\\"TYPE\\\"}]}]}\"}";
    for (kind, fits) in [("int", true), ("long", false)] {
        let answer: &'static str = Box::leak(OTHER.replace("TYPE", kind).into_boxed_str());
        let (mut config, served) = registry(vec![(200, answer)]);
        config.schemas = Register::Latest;
        let registry = Registry::new(&config).expect("a registry");
        assert_eq!(registry.id("s", OURS, &table()).ok(), fits.then_some(3));
        let asked = served.join().expect("answers").remove(0);
        assert!(
            asked.starts_with("GET /subjects/s/versions/latest "),
            "{asked}"
        );
    }
}

#[test]
fn subjects_are_confluents() {
    let subject = |subjects| {
        let config = RegistryConfig {
            url: Some("http://localhost:1".to_owned()),
            subjects,
            ..RegistryConfig::default()
        };
        let registry = Registry::new(&config).expect("a registry");
        registry.subject("p.s.t", "p.s.t.Envelope", "value")
    };
    assert_eq!(subject(Subjects::Topic), "p.s.t-value");
    assert_eq!(subject(Subjects::Record), "p.s.t.Envelope");
    assert_eq!(subject(Subjects::TopicRecord), "p.s.t-p.s.t.Envelope");
}

#[test]
fn settings_that_are_none_are_told() {
    for (set, named) in [
        (RegistryConfig::default(), "schema_registry.url"),
        (
            RegistryConfig {
                url: Some("http://user:secret@host".to_owned()),
                ..RegistryConfig::default()
            },
            "schema_registry.url",
        ),
        (
            RegistryConfig {
                url: Some("https://host".to_owned()),
                ca_file: Some("/no/such/file".to_owned()),
                ..RegistryConfig::default()
            },
            "schema_registry.ca_file",
        ),
    ] {
        let error = Registry::new(&set).err().expect("is refused");
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(named), "{error}");
        assert!(!format!("{error:?}").contains("secret"));
    }
}
