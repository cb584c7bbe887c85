//! From the tree to Rust types: any serde type can be read from any part of the file.
//!
//! Types are plain serde structs with `deny_unknown_fields`. `flatten` and untagged enums read
//! through a buffer of serde's own and lose lines: do without.

use std::borrow::Cow;

use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Expected, IntoDeserializer,
    MapAccess, SeqAccess, Unexpected, VariantAccess, Visitor,
};

use super::fault::Fault;
use super::tree::{Key, Node, Scalar, Value};
use super::units::ByteSize;

/// Reads a node as `T`; `beside` are keys that are known although `T` does not have them.
pub(super) fn read<T: DeserializeOwned>(node: &Node, beside: &[&'static str]) -> Result<T, Fault> {
    T::deserialize(Reader { node, bytes: false })
        .map_err(|fault| fault.suggest(beside).at(node.line))
}

#[derive(Clone, Copy)]
struct Reader<'a> {
    node: &'a Node,
    /// Whether the key counts bytes: then numbers may have a unit, also where a connector's type
    /// is a plain integer.
    bytes: bool,
}

impl<'a> Reader<'a> {
    fn scalar(self, expected: &dyn Expected) -> Result<&'a Scalar, Fault> {
        match &self.node.value {
            Value::Scalar(scalar) if scalar.is_null() => {
                Err(de::Error::invalid_type(Unexpected::Unit, expected))
            }
            Value::Scalar(scalar) => Ok(scalar),
            Value::List(_) => Err(de::Error::invalid_type(Unexpected::Seq, expected)),
            Value::Map(_) => Err(de::Error::invalid_type(Unexpected::Map, expected)),
        }
    }
}

impl Reader<'_> {
    /// A number's text: a size in bytes where the key counts them.
    fn digits<'t>(self, scalar: &'t Scalar) -> Cow<'t, str> {
        if self.bytes
            && let Ok(size) = scalar.text.parse::<ByteSize>()
        {
            return Cow::Owned(size.0.to_string());
        }
        Cow::Borrowed(&scalar.text)
    }
}

/// Numbers and booleans: whatever the text parses as; quoted texts are texts.
macro_rules! scalars {
    ($($method:ident $visit:ident $type:ty),* $(,)?) => {$(
        fn $method<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
            let scalar = self.scalar(&visitor)?;
            match self.digits(scalar).parse::<$type>() {
                Ok(value) if scalar.plain || scalar.referenced => visitor.$visit(value),
                _ => Err(de::Error::invalid_type(Unexpected::Str(""), &visitor)),
            }
        }
    )*};
}

impl<'a> Deserializer<'a> for Reader<'a> {
    type Error = Fault;

    scalars! {
        deserialize_bool visit_bool bool,
        deserialize_u8 visit_u8 u8,
        deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64,
        deserialize_i8 visit_i8 i8,
        deserialize_i16 visit_i16 i16,
        deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64,
        deserialize_f32 visit_f32 f32,
        deserialize_f64 visit_f64 f64,
    }

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        let scalar = match &self.node.value {
            Value::List(_) => return self.deserialize_seq(visitor),
            Value::Map(_) => return self.deserialize_map(visitor),
            Value::Scalar(scalar) => scalar,
        };
        if scalar.is_null() {
            return visitor.visit_unit();
        }
        if scalar.plain && !scalar.referenced {
            if let Ok(value) = scalar.text.parse::<bool>() {
                return visitor.visit_bool(value);
            }
            if let Ok(value) = scalar.text.parse::<u64>() {
                return visitor.visit_u64(value);
            }
            if let Ok(value) = scalar.text.parse::<i64>() {
                return visitor.visit_i64(value);
            }
            if scalar
                .text
                .starts_with(|char: char| char.is_ascii_digit() || "+-.".contains(char))
                && let Ok(value) = scalar.text.parse::<f64>()
            {
                return visitor.visit_f64(value);
            }
        }
        visitor.visit_borrowed_str(&scalar.text)
    }

    fn deserialize_str<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        let scalar = self.scalar(&visitor)?;
        visitor.visit_borrowed_str(&scalar.text)
    }

    fn deserialize_string<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Scalar(scalar) if scalar.is_null() => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::List(items) => visitor.visit_seq(Items { items, index: 0 }),
            Value::Map(_) => Err(de::Error::invalid_type(Unexpected::Map, &visitor)),
            Value::Scalar(scalar) if scalar.is_null() => {
                Err(de::Error::invalid_type(Unexpected::Unit, &visitor))
            }
            Value::Scalar(_) => Err(Fault::new("expected a list, found a single value")
                .hint("write it as a list: `[value]`")),
        }
    }

    fn deserialize_map<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Map(entries) => visitor.visit_map(Entries {
                entries: entries.iter(),
                value: None,
            }),
            // `journal:` with nothing below it.
            Value::Scalar(scalar) if scalar.is_null() => visitor.visit_map(Entries {
                entries: [].iter(),
                value: None,
            }),
            Value::Scalar(_) => Err(Fault::new(
                "expected a mapping of keys, found a single value",
            )),
            Value::List(_) => Err(Fault::new("expected a mapping of keys, found a list")),
        }
    }

    fn deserialize_struct<V: Visitor<'a>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'a>>(
        self,
        _: &'static str,
        words: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Scalar(scalar)
                if scalar.referenced && !words.contains(&scalar.text.as_str()) =>
            {
                Err(Fault::new(format!("expected one of {}", words.join(", "))))
            }
            Value::Scalar(scalar) => visitor.visit_enum(scalar.text.as_str().into_deserializer()),
            Value::Map(entries) if entries.len() == 1 => visitor.visit_enum(Variant {
                key: &entries[0].0,
                node: &entries[0].1,
            }),
            _ => Err(Fault::new(format!("expected one of {}", words.join(", ")))),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        <W: Visitor<'a>>
        i128 u128 bytes byte_buf unit unit_struct tuple tuple_struct
    }
}

struct Items<'a> {
    items: &'a [Node],
    index: usize,
}

impl<'a> SeqAccess<'a> for Items<'a> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'a>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        let Some(node) = self.items.get(self.index) else {
            return Ok(None);
        };
        let index = self.index;
        self.index += 1;
        seed.deserialize(Reader { node, bytes: false })
            .map(Some)
            .map_err(|fault| fault.at(node.line).within(&format!("[{index}]")))
    }
}

struct Entries<'a> {
    entries: std::slice::Iter<'a, (Key, Node)>,
    value: Option<(&'a Key, &'a Node)>,
}

impl<'a> MapAccess<'a> for Entries<'a> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'a>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        let Some((key, node)) = self.entries.next() else {
            return Ok(None);
        };
        self.value = Some((key, node));
        seed.deserialize(key.name.as_str().into_deserializer())
            .map(Some)
            .map_err(|fault: Fault| fault.at(key.line))
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let Some((key, node)) = self.value.take() else {
            return Err(Fault::new("a value without a key"));
        };
        let bytes = key.name.ends_with("_bytes");
        seed.deserialize(Reader { node, bytes })
            .map_err(|fault| fault.about(node).at(key.line).within(&key.name))
    }
}

/// An enum's variant with content: a mapping with one key.
struct Variant<'a> {
    key: &'a Key,
    node: &'a Node,
}

impl<'a> EnumAccess<'a> for Variant<'a> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'a>>(self, seed: V) -> Result<(V::Value, Self), Fault> {
        let word = seed
            .deserialize(self.key.name.as_str().into_deserializer())
            .map_err(|fault: Fault| fault.at(self.key.line))?;
        Ok((word, self))
    }
}

impl<'a> VariantAccess<'a> for Variant<'a> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        Err(Fault::new(format!("`{}` takes no value", self.key.name)).at(self.key.line))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'a>>(self, seed: T) -> Result<T::Value, Fault> {
        seed.deserialize(Reader {
            node: self.node,
            bytes: false,
        })
        .map_err(|fault| fault.at(self.key.line).within(&self.key.name))
    }

    fn tuple_variant<V: Visitor<'a>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        Reader {
            node: self.node,
            bytes: false,
        }
        .deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'a>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        Reader {
            node: self.node,
            bytes: false,
        }
        .deserialize_map(visitor)
    }
}
