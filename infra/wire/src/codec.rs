//! The declarative codec: what a field is on the wire, and the two macros that declare messages.
//!
//! A field reads `name: Type [versions] nullable[versions] tag(number) = default;`. The versions are a range of message
//! versions in which the field is there (`[..]` is all of them). An `Option` is null in every version that has the field,
//! unless `nullable` narrows that. A tagged field exists in flexible versions only, and only when it is not its default.
//! What a version has no room for is left out when encoding, and has its default after decoding.

use crate::primitives::{DecodeError, DecodeErrorKind, Reader, Records, Writer};
use bytes::Bytes;
use std::ops::RangeBounds;
use strandline_types::TopicId;
use uuid::Uuid;

/// In which version a value is read or written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context {
    pub(crate) version: i16,
    pub(crate) flexible: bool,
    /// Whether this field may be null in this version.
    pub(crate) nullable: bool,
}

impl Context {
    pub(crate) fn nullable(self, nullable: bool) -> Self {
        Self { nullable, ..self }
    }
}

/// A value as Kafka writes it.
pub(crate) trait Wire: Sized {
    fn encode(&self, context: Context, writer: &mut Writer);
    fn decode(context: Context, reader: &mut Reader) -> Result<Self, DecodeError>;
}

/// A value that has a null.
pub(crate) trait Nullable: Wire + Default {
    fn encode_nullable(value: Option<&Self>, context: Context, writer: &mut Writer);
    fn decode_nullable(context: Context, reader: &mut Reader) -> Result<Option<Self>, DecodeError>;
}

impl<T: Nullable> Wire for Option<T> {
    fn encode(&self, context: Context, writer: &mut Writer) {
        match self {
            None if !context.nullable => T::default().encode(context, writer),
            Some(value) if !context.nullable => value.encode(context, writer),
            value => T::encode_nullable(value.as_ref(), context, writer),
        }
    }

    fn decode(context: Context, reader: &mut Reader) -> Result<Self, DecodeError> {
        if context.nullable { T::decode_nullable(context, reader) } else { T::decode(context, reader).map(Some) }
    }
}

macro_rules! numbers {
    ($($type:ty),*) => { $(
        impl Wire for $type {
            #[inline]
            fn encode(&self, _: Context, writer: &mut Writer) {
                writer.slice(&self.to_be_bytes());
            }

            #[inline]
            fn decode(_: Context, reader: &mut Reader) -> Result<Self, DecodeError> {
                Ok(<$type>::from_be_bytes(reader.array()?))
            }
        }
    )* };
}

numbers!(i8, i16, i32, i64, u16, f64);

impl Wire for bool {
    fn encode(&self, _: Context, writer: &mut Writer) {
        writer.i8(i8::from(*self));
    }

    fn decode(_: Context, reader: &mut Reader) -> Result<Self, DecodeError> {
        Ok(reader.i8()? != 0)
    }
}

impl Wire for TopicId {
    fn encode(&self, _: Context, writer: &mut Writer) {
        writer.slice(&self.0);
    }

    fn decode(_: Context, reader: &mut Reader) -> Result<Self, DecodeError> {
        Ok(TopicId(reader.array()?))
    }
}

impl Wire for Uuid {
    fn encode(&self, _: Context, writer: &mut Writer) {
        writer.slice(self.as_bytes());
    }

    fn decode(_: Context, reader: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Uuid::from_bytes(reader.array()?))
    }
}

/// A type whose null is a length of its own: what is not nullable is the same without the null.
macro_rules! wire_by_length {
    ($type:ty $(, for $generics:ident: $bound:ident)?) => {
        impl $(<$generics: $bound>)? Wire for $type {
            fn encode(&self, context: Context, writer: &mut Writer) {
                Self::encode_nullable(Some(self), context, writer);
            }

            fn decode(context: Context, reader: &mut Reader) -> Result<Self, DecodeError> {
                match Self::decode_nullable(context, reader)? {
                    Some(value) => Ok(value),
                    None => Err(reader.error(DecodeErrorKind::Null)),
                }
            }
        }
    };
}

wire_by_length!(String);
wire_by_length!(Bytes);
wire_by_length!(Records);
wire_by_length!(Vec<T>, for T: Wire);

impl Nullable for String {
    fn encode_nullable(value: Option<&Self>, context: Context, writer: &mut Writer) {
        writer.string(context.flexible, value.map(String::as_str));
    }

    fn decode_nullable(context: Context, reader: &mut Reader) -> Result<Option<Self>, DecodeError> {
        let length = reader.string_length(context.flexible)?;
        length.map(|length| reader.string(length)).transpose()
    }
}

impl Nullable for Bytes {
    fn encode_nullable(value: Option<&Self>, context: Context, writer: &mut Writer) {
        writer.length(context.flexible, value.map(Bytes::len));
        if let Some(bytes) = value {
            writer.shared(bytes);
        }
    }

    fn decode_nullable(context: Context, reader: &mut Reader) -> Result<Option<Self>, DecodeError> {
        let length = reader.length(context.flexible)?;
        length.map(|length| reader.bytes(length)).transpose()
    }
}

impl Nullable for Records {
    fn encode_nullable(value: Option<&Self>, context: Context, writer: &mut Writer) {
        writer.length(context.flexible, value.map(Records::len));
        if let Some(records) = value {
            writer.records(records);
        }
    }

    fn decode_nullable(context: Context, reader: &mut Reader) -> Result<Option<Self>, DecodeError> {
        Ok(Bytes::decode_nullable(context, reader)?.map(Records::from))
    }
}

impl<T: Wire> Nullable for Vec<T> {
    fn encode_nullable(value: Option<&Self>, context: Context, writer: &mut Writer) {
        writer.length(context.flexible, value.map(Vec::len));
        for element in value.into_iter().flatten() {
            element.encode(context, writer);
        }
    }

    fn decode_nullable(context: Context, reader: &mut Reader) -> Result<Option<Self>, DecodeError> {
        let Some(count) = reader.length(context.flexible)? else { return Ok(None) };
        let mut elements = Vec::with_capacity(reader.admit_array(count, size_of::<T>())?);
        for _ in 0..count {
            elements.push(T::decode(context, reader)?);
        }
        Ok(Some(elements))
    }
}

/// Whether a version lies in a range.
#[inline]
pub(crate) fn within(versions: impl RangeBounds<i16>, version: i16) -> bool {
    versions.contains(&version)
}

/// Whether a tagged field need not be written.
pub(crate) fn is_default<T: PartialEq>(value: &T, default: T) -> bool {
    *value == default
}

/// Collects the tagged fields of one struct, whose count comes first.
#[derive(Default)]
pub(crate) struct TaggedFields {
    count: u32,
    fields: Option<Writer>,
}

impl TaggedFields {
    pub(crate) fn put(&mut self, tag: u32, value: &impl Wire, context: Context) {
        let mut encoded = Writer::new();
        value.encode(context, &mut encoded);
        let fields = self.fields.get_or_insert_with(Writer::new);
        fields.unsigned_varint(tag);
        fields.unsigned_varint(encoded.len() as u32);
        fields.append(encoded);
        self.count += 1;
    }

    pub(crate) fn write(self, writer: &mut Writer) {
        writer.unsigned_varint(self.count);
        if let Some(fields) = self.fields {
            writer.append(fields);
        }
    }
}

macro_rules! default_of {
    () => {
        Default::default()
    };
    ($default:expr) => {
        $default
    };
}

/// The code, if there is no tag.
macro_rules! untagged {
    ([] $($code:tt)*) => { $($code)* };
    ([$tag:literal] $($code:tt)*) => {};
}

/// The code, if there is a tag.
macro_rules! tagged {
    ([] $($code:tt)*) => {};
    ([$tag:literal] $($code:tt)*) => { $($code)* };
}

macro_rules! nullable_in {
    ($version:expr) => {
        true
    };
    ($version:expr, $nullable:expr) => {
        $crate::codec::within($nullable, $version)
    };
}

/// Declares structs and their codec; see the head of this file.
macro_rules! wire {
    ($(
        $(#[$meta:meta])*
        $name:ident {
            $(
                $(#[$field_meta:meta])*
                $field:ident : $type:ty [ $versions:expr ] $(nullable [ $nullable:expr ])? $(tag ( $tag:literal ))? $(= $default:expr)? ;
            )*
        }
    )*) => { $(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        #[allow(missing_docs, reason = "the fields are Kafka's")]
        pub struct $name {
            $( $(#[$field_meta])* pub $field: $type, )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: default_of!($($default)?), )* }
            }
        }

        impl $crate::codec::Wire for $name {
            fn encode(&self, context: $crate::codec::Context, writer: &mut $crate::primitives::Writer) {
                $( untagged! { [$($tag)?]
                    if $crate::codec::within($versions, context.version) {
                        let context = context.nullable(nullable_in!(context.version $(, $nullable)?));
                        $crate::codec::Wire::encode(&self.$field, context, writer);
                    }
                } )*
                if context.flexible {
                    #[allow(unused_mut, reason = "most structs have no tagged fields")]
                    let mut tagged = $crate::codec::TaggedFields::default();
                    $( tagged! { [$($tag)?]
                        if $crate::codec::within($versions, context.version)
                            && !$crate::codec::is_default(&self.$field, default_of!($($default)?))
                        {
                            let context = context.nullable(nullable_in!(context.version $(, $nullable)?));
                            tagged.put($($tag)?, &self.$field, context);
                        }
                    } )*
                    tagged.write(writer);
                }
            }

            fn decode(
                context: $crate::codec::Context,
                reader: &mut $crate::primitives::Reader,
            ) -> Result<Self, $crate::primitives::DecodeError> {
                let mut value = Self::default();
                $( untagged! { [$($tag)?]
                    if $crate::codec::within($versions, context.version) {
                        let context = context.nullable(nullable_in!(context.version $(, $nullable)?));
                        value.$field = $crate::codec::Wire::decode(context, reader)
                            .map_err(|error| error.in_field(concat!(stringify!($name), ".", stringify!($field))))?;
                    }
                } )*
                if context.flexible {
                    #[allow(unused_variables, reason = "most structs have no tagged fields")]
                    reader.tagged_fields(|tag, reader| {
                        $( tagged! { [$($tag)?]
                            if tag == $($tag)? && $crate::codec::within($versions, context.version) {
                                let context = context.nullable(nullable_in!(context.version $(, $nullable)?));
                                value.$field = $crate::codec::Wire::decode(context, reader)
                                    .map_err(|error| error.in_field(concat!(stringify!($name), ".", stringify!($field))))?;
                                return Ok(true);
                            }
                        } )*
                        Ok(false)
                    })?;
                }
                Ok(value)
            }
        }

        impl $crate::codec::Nullable for $name {
            fn encode_nullable(
                value: Option<&Self>,
                context: $crate::codec::Context,
                writer: &mut $crate::primitives::Writer,
            ) {
                writer.i8(if value.is_some() { 1 } else { -1 });
                if let Some(value) = value {
                    $crate::codec::Wire::encode(value, context, writer);
                }
            }

            fn decode_nullable(
                context: $crate::codec::Context,
                reader: &mut $crate::primitives::Reader,
            ) -> Result<Option<Self>, $crate::primitives::DecodeError> {
                if reader.i8()? < 0 {
                    return Ok(None);
                }
                $crate::codec::Wire::decode(context, reader).map(Some)
            }
        }

        #[cfg(test)]
        impl $crate::messages::sample::Sample for $name {
            fn sample(context: $crate::codec::Context, entropy: &mut $crate::messages::sample::Entropy) -> Self {
                let mut value = Self::default();
                $( if $crate::codec::within($versions, context.version) {
                    let context = context.nullable(nullable_in!(context.version $(, $nullable)?));
                    value.$field = $crate::messages::sample::Sample::sample(context, entropy);
                } )*
                value
            }
        }
    )* };
}

/// Declares the two messages of an API.
macro_rules! api {
    ($key:ident : $request:ident => $response:ident) => {
        message!($key, $request);
        message!($key, $response);

        impl $crate::messages::Request for $request {
            type Response = $response;
        }
    };
}

macro_rules! message {
    ($key:ident, $name:ident) => {
        impl $name {
            /// Writes the body as `version` has it. A version that is not spoken gives what no peer understands; check
            /// [`ApiRange::is_served`](crate::ApiRange::is_served) before.
            pub fn encode(&self, version: i16, writer: &mut $crate::primitives::Writer) {
                let context = $crate::ApiKey::$key.range().context(version);
                $crate::codec::Wire::encode(self, context, writer);
            }

            /// Reads the body as `version` has it. Bytes after it are left in the reader.
            ///
            /// # Errors
            /// Bytes that are no such body, or a version that is not spoken.
            pub fn decode(
                version: i16,
                reader: &mut $crate::primitives::Reader,
            ) -> Result<Self, $crate::primitives::DecodeError> {
                let range = $crate::ApiKey::$key.range();
                if !range.is_served(version) {
                    return Err(reader.error($crate::primitives::DecodeErrorKind::Version(version)).in_field(stringify!($name)));
                }
                $crate::codec::Wire::decode(range.context(version), reader)
            }
        }

        impl $crate::messages::Message for $name {
            const API_KEY: $crate::ApiKey = $crate::ApiKey::$key;

            fn encode(&self, version: i16, writer: &mut $crate::primitives::Writer) {
                self.encode(version, writer);
            }

            fn decode(version: i16, reader: &mut $crate::primitives::Reader) -> Result<Self, $crate::primitives::DecodeError> {
                $name::decode(version, reader)
            }
        }
    };
}
