//! Writes what serde describes.
//!
//! A formatter for the serializer of `serde_json` would do the same with three times the instructions: every record of
//! every run goes through here.

use std::fmt::{Display, Write as _};

use serde::ser::{
    Error as _, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant, Serializer,
};
use serde_json::Error;

use super::key::{self, Member};
use super::map_key::Key;
use super::text;

/// Writes values behind a text.
pub(super) struct Writer<'a> {
    text: &'a mut Vec<u8>,
    /// The members of all open objects, the innermost object's last.
    members: Vec<Member>,
    /// Room to put members in order.
    moved: Vec<u8>,
}

impl<'a> Writer<'a> {
    pub(super) const fn new(text: &'a mut Vec<u8>) -> Self {
        Self {
            text,
            members: Vec::new(),
            moved: Vec::new(),
        }
    }

    fn array(&mut self, close: &'static [u8]) -> Array<'_, 'a> {
        self.text.push(b'[');
        Array {
            writer: self,
            is_empty: true,
            close,
        }
    }

    fn object(&mut self, close: &'static [u8]) -> Object<'_, 'a> {
        // Room for most values, once.
        self.members.reserve(16);
        self.text.push(b'{');
        let first = self.members.len();
        Object {
            writer: self,
            first,
            in_order: true,
            close,
        }
    }

    /// The beginning of an object whose one member is named like a variant.
    fn variant(&mut self, name: &str) {
        self.text.push(b'{');
        text::string(self.text, name);
        self.text.push(b':');
    }
}

impl<'w, 'a> Serializer for &'w mut Writer<'a> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Array<'w, 'a>;
    type SerializeTuple = Array<'w, 'a>;
    type SerializeTupleStruct = Array<'w, 'a>;
    type SerializeTupleVariant = Array<'w, 'a>;
    type SerializeMap = Object<'w, 'a>;
    type SerializeStruct = Object<'w, 'a>;
    type SerializeStructVariant = Object<'w, 'a>;

    fn serialize_bool(self, value: bool) -> Result<(), Error> {
        let word: &[u8] = if value { b"true" } else { b"false" };
        self.text.extend_from_slice(word);
        Ok(())
    }

    fn serialize_i8(self, value: i8) -> Result<(), Error> {
        self.serialize_i64(value.into())
    }

    fn serialize_i16(self, value: i16) -> Result<(), Error> {
        self.serialize_i64(value.into())
    }

    fn serialize_i32(self, value: i32) -> Result<(), Error> {
        self.serialize_i64(value.into())
    }

    fn serialize_i64(self, value: i64) -> Result<(), Error> {
        text::signed(self.text, value);
        Ok(())
    }

    fn serialize_i128(self, value: i128) -> Result<(), Error> {
        match i64::try_from(value) {
            Ok(value) => self.serialize_i64(value),
            #[expect(
                clippy::cast_precision_loss,
                reason = "RFC 8785: the nearest double stands for a larger integer"
            )]
            Err(_large) => self.serialize_f64(value as f64),
        }
    }

    fn serialize_u8(self, value: u8) -> Result<(), Error> {
        self.serialize_u64(value.into())
    }

    fn serialize_u16(self, value: u16) -> Result<(), Error> {
        self.serialize_u64(value.into())
    }

    fn serialize_u32(self, value: u32) -> Result<(), Error> {
        self.serialize_u64(value.into())
    }

    fn serialize_u64(self, value: u64) -> Result<(), Error> {
        text::unsigned(self.text, value);
        Ok(())
    }

    fn serialize_u128(self, value: u128) -> Result<(), Error> {
        match u64::try_from(value) {
            Ok(value) => self.serialize_u64(value),
            #[expect(
                clippy::cast_precision_loss,
                reason = "RFC 8785: the nearest double stands for a larger integer"
            )]
            Err(_large) => self.serialize_f64(value as f64),
        }
    }

    fn serialize_f32(self, value: f32) -> Result<(), Error> {
        self.serialize_f64(value.into())
    }

    fn serialize_f64(self, value: f64) -> Result<(), Error> {
        text::double(self.text, value);
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), Error> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), Error> {
        text::string(self.text, value);
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Error> {
        let mut array = self.array(b"]");
        for byte in value {
            SerializeSeq::serialize_element(&mut array, byte)?;
        }
        SerializeSeq::end(array)
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.text.extend_from_slice(b"null");
        Ok(())
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<(), Error> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.variant(variant);
        value.serialize(&mut *self)?;
        self.text.push(b'}');
        Ok(())
    }

    fn serialize_seq(self, _len: Option<usize>) -> Result<Array<'w, 'a>, Error> {
        Ok(self.array(b"]"))
    }

    fn serialize_tuple(self, _len: usize) -> Result<Array<'w, 'a>, Error> {
        Ok(self.array(b"]"))
    }

    fn serialize_tuple_struct(
        self,
        _name: &'static str,
        _len: usize,
    ) -> Result<Array<'w, 'a>, Error> {
        Ok(self.array(b"]"))
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Array<'w, 'a>, Error> {
        self.variant(variant);
        Ok(self.array(b"]}"))
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<Object<'w, 'a>, Error> {
        Ok(self.object(b"}"))
    }

    fn serialize_struct(self, name: &'static str, _len: usize) -> Result<Object<'w, 'a>, Error> {
        // With features that nobody here asks for, serde_json describes numbers and raw text as structs of its own.
        if name.starts_with("$serde_json::private::") {
            return Err(Error::custom("raw JSON has no canonical form"));
        }
        Ok(self.object(b"}"))
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Object<'w, 'a>, Error> {
        self.variant(variant);
        Ok(self.object(b"}}"))
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<(), Error> {
        self.text.push(b'"');
        write!(text::Inside(self.text), "{value}").map_err(Error::custom)?;
        self.text.push(b'"');
        Ok(())
    }
}

/// An array that is being written.
pub(super) struct Array<'w, 'a> {
    writer: &'w mut Writer<'a>,
    is_empty: bool,
    close: &'static [u8],
}

impl SerializeSeq for Array<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        if !std::mem::take(&mut self.is_empty) {
            self.writer.text.push(b',');
        }
        value.serialize(&mut *self.writer)
    }

    fn end(self) -> Result<(), Error> {
        self.writer.text.extend_from_slice(self.close);
        Ok(())
    }
}

impl SerializeTuple for Array<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        SerializeSeq::serialize_element(self, value)
    }

    fn end(self) -> Result<(), Error> {
        SerializeSeq::end(self)
    }
}

impl SerializeTupleStruct for Array<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        SerializeSeq::serialize_element(self, value)
    }

    fn end(self) -> Result<(), Error> {
        SerializeSeq::end(self)
    }
}

impl SerializeTupleVariant for Array<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        SerializeSeq::serialize_element(self, value)
    }

    fn end(self) -> Result<(), Error> {
        SerializeSeq::end(self)
    }
}

/// An object that is being written.
pub(super) struct Object<'w, 'a> {
    writer: &'w mut Writer<'a>,
    /// How many of the writer's members are not its own.
    first: usize,
    /// Whether its members have come in order until now.
    in_order: bool,
    close: &'static [u8],
}

impl Object<'_, '_> {
    /// Begins a member whose key, with its quotes, `write` writes; it says whether anything in it was escaped.
    fn begin(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let Writer { text, members, .. } = &mut *self.writer;
        if members.len() > self.first {
            text.push(b',');
        }
        let start = text.len().saturating_add(1);
        let key_is_escaped = write(text)?;
        let end = text.len().saturating_sub(1);
        text.push(b':');
        let member = Member {
            key: start..end,
            key_is_escaped,
            end,
        };
        let before = members.get(self.first..).and_then(<[Member]>::last);
        self.in_order &= before.is_none_or(|before| key::in_order(text, before, &member));
        members.push(member);
        Ok(())
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        value.serialize(&mut *self.writer)?;
        if let Some(member) = self.writer.members.last_mut() {
            member.end = self.writer.text.len();
        }
        Ok(())
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), Error> {
        self.begin(|text| Ok(text::string(text, name)))?;
        self.value(value)
    }

    fn close(self) {
        let Writer {
            text,
            members,
            moved,
        } = self.writer;
        if !self.in_order {
            key::sort(
                text,
                members.get_mut(self.first..).unwrap_or_default(),
                moved,
            );
        }
        members.truncate(self.first);
        text.extend_from_slice(self.close);
    }
}

impl SerializeMap for Object<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.begin(|text| key.serialize(Key(text)))
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.value(value)
    }

    fn end(self) -> Result<(), Error> {
        self.close();
        Ok(())
    }
}

impl SerializeStruct for Object<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.field(name, value)
    }

    fn end(self) -> Result<(), Error> {
        self.close();
        Ok(())
    }
}

impl SerializeStructVariant for Object<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.field(name, value)
    }

    fn end(self) -> Result<(), Error> {
        self.close();
        Ok(())
    }
}
