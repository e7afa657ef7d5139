//! A walk over Parquet's metadata before the Parquet library decodes it: everything that it announces is there.
//!
//! The library reserves memory for as many elements as a list, or for as many children as a column, claims to have, goes one
//! level deeper for each nested column, steps over an unknown list of booleans one by one, and takes a field that it knows to
//! be of the type that it expects. So a damaged footer would end the process, or keep a thread for seconds. What passes here
//! costs no more than the bytes that it consists of.
//!
//! Encoding: <https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>; structures: Parquet's
//! `parquet.thrift`.

use self::Shape::{Bool, Byte, Bytes, Double, Int, List, Struct, Unknown};

/// A type as the Parquet library reads it.
#[derive(Debug)]
pub(crate) enum Shape {
    Bool,
    Byte,
    Int,
    Double,
    Bytes,
    List(&'static Shape),
    /// Its known fields; others are stepped over.
    Struct(&'static [(i16, Shape)]),
    Unknown,
}

/// `FileMetaData`.
pub(crate) static FOOTER: Shape = Struct(&[
    (1, Int),
    (SCHEMA, List(&Struct(SCHEMA_ELEMENT))),
    (3, Int),
    (4, List(&Struct(&[(1, List(&COLUMN_CHUNK)), (2, Int), (3, Int), (4, List(&SORTING)), (5, Int), (6, Int), (7, Int)]))),
    (5, List(&KEY_VALUE)),
    (6, Bytes),
    (7, List(&Struct(&[(1, EMPTY)]))),
]);

/// `ColumnIndex`.
pub(crate) static COLUMN_INDEX: Shape = Struct(&[
    (1, List(&Bool)),
    (2, List(&Bytes)),
    (3, List(&Bytes)),
    (4, Int),
    (5, List(&Int)),
    (6, List(&Int)),
    (7, List(&Int)),
]);

/// `OffsetIndex`.
pub(crate) static OFFSET_INDEX: Shape = Struct(&[(1, List(&Struct(&[(1, Int), (2, Int), (3, Int)]))), (2, List(&Int))]);

/// `FileMetaData.schema` and `SchemaElement.num_children`.
const SCHEMA: i16 = 2;
const CHILDREN: i16 = 5;

const EMPTY: Shape = Struct(&[]);
const SCHEMA_ELEMENT: &[(i16, Shape)] = &[
    (1, Int),
    (2, Int),
    (3, Int),
    (4, Bytes),
    (CHILDREN, Int),
    (6, Int),
    (7, Int),
    (8, Int),
    (9, Int),
    (10, Struct(LOGICAL_TYPE)),
];
const TIME: Shape = Struct(&[(1, Bool), (2, Struct(&[(1, EMPTY), (2, EMPTY), (3, EMPTY)]))]);
const LOGICAL_TYPE: &[(i16, Shape)] = &[
    (1, EMPTY),
    (2, EMPTY),
    (3, EMPTY),
    (4, EMPTY),
    (5, Struct(&[(1, Int), (2, Int)])),
    (6, EMPTY),
    (7, TIME),
    (8, TIME),
    (10, Struct(&[(1, Byte), (2, Bool)])),
    (11, EMPTY),
    (12, EMPTY),
    (13, EMPTY),
    (14, EMPTY),
    (15, EMPTY),
    (16, Struct(&[(1, Byte)])),
    (17, Struct(&[(1, Bytes)])),
    (18, Struct(&[(1, Bytes), (2, Int)])),
];
const KEY_VALUE: Shape = Struct(&[(1, Bytes), (2, Bytes)]);
const SORTING: Shape = Struct(&[(1, Int), (2, Bool), (3, Bool)]);
const STATISTICS: Shape = Struct(&[(1, Bytes), (2, Bytes), (3, Int), (4, Int), (5, Bytes), (6, Bytes), (7, Bool), (8, Bool)]);
const COLUMN_METADATA: Shape = Struct(&[
    (1, Int),
    (2, List(&Int)),
    (3, List(&Bytes)),
    (4, Int),
    (5, Int),
    (6, Int),
    (7, Int),
    (8, List(&KEY_VALUE)),
    (9, Int),
    (10, Int),
    (11, Int),
    (12, STATISTICS),
    (13, List(&Struct(&[(1, Int), (2, Int), (3, Int)]))),
    (14, Int),
    (15, Int),
    (16, Struct(&[(1, Int), (2, List(&Int)), (3, List(&Int))])),
    (17, Struct(&[(1, BOX), (2, List(&Int))])),
]);
const BOX: Shape =
    Struct(&[(1, Double), (2, Double), (3, Double), (4, Double), (5, Double), (6, Double), (7, Double), (8, Double)]);
const COLUMN_CHUNK: Shape =
    Struct(&[(1, Bytes), (2, Int), (3, COLUMN_METADATA), (4, Int), (5, Int), (6, Int), (7, Int), (8, Unknown), (9, Unknown)]);

/// Types as they are encoded.
mod kind {
    pub const STOP: u8 = 0;
    pub const TRUE: u8 = 1;
    pub const FALSE: u8 = 2;
    pub const BYTE: u8 = 3;
    pub const I16: u8 = 4;
    pub const I32: u8 = 5;
    pub const I64: u8 = 6;
    pub const DOUBLE: u8 = 7;
    pub const BINARY: u8 = 8;
    pub const LIST: u8 = 9;
    pub const STRUCT: u8 = 12;
}

/// Less than where the Parquet library gives up on what it steps over, and more than any structure needs.
const DEEPEST: usize = 32;

const ENDS: &str = "it ends too early";
const OTHER_TYPE: &str = "a field has another type than Parquet gives it";
const TOO_DEEP: &str = "it is nested too deeply";

/// Walks one structure, which other bytes may follow.
///
/// # Errors
/// It ends too early, announces what is not there, or is not of the shape; the text says which.
pub(crate) fn check(shape: &Shape, bytes: &[u8]) -> Result<(), &'static str> {
    let mut walk = Walk { bytes, children: Vec::new() };
    walk.value(shape, kind::STRUCT, 0)?;
    tree(&walk.children)
}

struct Walk<'a> {
    bytes: &'a [u8],
    /// How many children each element of the schema claims, in the order of the file.
    children: Vec<u64>,
}

impl Walk<'_> {
    fn value(&mut self, shape: &Shape, kind: u8, depth: usize) -> Result<(), &'static str> {
        if depth > DEEPEST {
            return Err(TOO_DEEP);
        }
        match (shape, kind) {
            // The value of a field is in its type.
            (Bool | Unknown, kind::TRUE | kind::FALSE) => Ok(()),
            (Byte | Unknown, kind::BYTE) => self.skip(1),
            (Int | Unknown, kind::I16 | kind::I32 | kind::I64) => self.varint().map(drop),
            (Double | Unknown, kind::DOUBLE) => self.skip(8),
            (Bytes | Unknown, kind::BINARY) => {
                let length = self.varint()?;
                self.skip(usize::try_from(length).map_err(|_| ENDS)?)
            }
            (List(element), kind::LIST) => self.list(element, depth),
            (Unknown, kind::LIST) => self.list(&Unknown, depth),
            (Struct(fields), kind::STRUCT) => self.fields(fields, depth),
            (Unknown, kind::STRUCT) => self.fields(&[], depth),
            _ => Err(OTHER_TYPE),
        }
    }

    fn fields(&mut self, known: &'static [(i16, Shape)], depth: usize) -> Result<(), &'static str> {
        let schema_element = std::ptr::eq(known, SCHEMA_ELEMENT);
        if schema_element {
            self.children.push(0);
        }
        let mut id = 0i16;
        loop {
            let head = self.byte()?;
            let (delta, kind) = (head >> 4, head & 0x0f);
            if kind == kind::STOP {
                return Ok(());
            }
            id = if delta == 0 { self.zigzag()? as i16 } else { id.wrapping_add(i16::from(delta)) };
            let shape = known.iter().find(|(known, _)| *known == id).map_or(&Unknown, |(_, shape)| shape);
            if schema_element && id == CHILDREN && kind == kind::I32 {
                let claimed = u64::try_from(self.zigzag()?).map_err(|_| "a column has a negative number of children")?;
                if let Some(children) = self.children.last_mut() {
                    *children = claimed;
                }
            } else {
                self.value(shape, kind, depth + 1)?;
            }
        }
    }

    fn list(&mut self, shape: &Shape, depth: usize) -> Result<(), &'static str> {
        let head = self.byte()?;
        let kind = head & 0x0f;
        let length = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
        if length > self.bytes.len() as u64 {
            return Err("a list announces more than there is");
        }
        match (shape, kind) {
            _ if length == 0 => Ok(()),
            (Bool, kind::TRUE | kind::FALSE) => self.skip(length as usize),
            // The library takes these to have no bytes where it does not know the list, and goes over them one by one.
            (_, kind::TRUE | kind::FALSE) => Err("a list of booleans is where none belongs"),
            _ => (0..length).try_for_each(|_| self.value(shape, kind, depth + 1)),
        }
    }

    fn byte(&mut self) -> Result<u8, &'static str> {
        let (first, rest) = self.bytes.split_first().ok_or(ENDS)?;
        self.bytes = rest;
        Ok(*first)
    }

    fn skip(&mut self, count: usize) -> Result<(), &'static str> {
        self.bytes = self.bytes.get(count..).ok_or(ENDS)?;
        Ok(())
    }

    fn varint(&mut self) -> Result<u64, &'static str> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a number is too long")
    }

    fn zigzag(&mut self) -> Result<i64, &'static str> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }
}

/// The schema's elements, depth first: none claims children that are not there, and they are not nested too deeply.
fn tree(children: &[u64]) -> Result<(), &'static str> {
    let mut open: Vec<u64> = Vec::new();
    for (at, claimed) in children.iter().enumerate() {
        if *claimed >= (children.len() - at) as u64 {
            return Err("a column announces more children than there are");
        }
        if let Some(missing) = open.last_mut() {
            *missing -= 1;
        }
        if *claimed > 0 {
            open.push(*claimed);
        }
        if open.len() > DEEPEST {
            return Err(TOO_DEEP);
        }
        while open.last() == Some(&0) {
            open.pop();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A footer that has only a schema: each element is a name and a number of children.
    fn schema(children: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x29, 0xfc, children.len() as u8];
        for children in children {
            bytes.extend([0x48, 1, b'a', 0x15, children * 2, 0]);
        }
        bytes.push(0);
        bytes
    }

    #[test]
    fn a_schema_is_a_tree_that_is_there() {
        assert_eq!(check(&FOOTER, &schema(&[2, 0, 1, 0])), Ok(()));
        for children in [&[2, 0][..], &[0, 1], &[1, 1], &[60, 0, 0]] {
            assert!(check(&FOOTER, &schema(children)).is_err(), "{children:?}");
        }
        let mut deep = [1; 60];
        deep[59] = 0;
        assert_eq!(check(&FOOTER, &schema(&deep)), Err(TOO_DEEP));
        // Six billion bytes for children that are not there, as a fuzzer found it.
        let announced = [0x29, 0x1c, 0x48, 1, b'a', 0x15, 0xfe, 0xff, 0xff, 0xff, 0x0f, 0, 0];
        assert!(check(&FOOTER, &announced).is_err());
    }

    #[test]
    fn lists_announce_what_is_there() {
        let row_groups = |length: &[u8]| [&[0x49, 0xfc][..], length, &[0, 0]].concat();
        assert_eq!(check(&FOOTER, &row_groups(&[1])), Ok(()));
        assert!(check(&FOOTER, &row_groups(&[0xff, 0xff, 0xff, 0xff, 7])).is_err());
        // Unknown lists: of structures, and of booleans.
        assert_eq!(check(&FOOTER, &[0xf9, 0x1c, 0, 0]), Ok(()));
        assert!(check(&FOOTER, &[0xf9, 0xf1, 0xff, 0xff, 0xff, 0xff, 7, 0]).is_err());
        assert!(check(&FOOTER, &[0xf9, 0x11, 1, 0]).is_err());
        assert_eq!(check(&COLUMN_INDEX, &[0x19, 0x21, 1, 2, 0]), Ok(()));
        assert!(check(&COLUMN_INDEX, &[0x19, 0x21, 1]).is_err());
    }

    #[test]
    fn a_known_field_is_of_its_type() {
        assert_eq!(check(&FOOTER, &[0x15, 2, 0]), Ok(()));
        assert_eq!(check(&FOOTER, &[0x18, 1, 7, 0]), Err(OTHER_TYPE));
        assert_eq!(check(&FOOTER, &[0x29, 0x15, 2, 0]), Err(OTHER_TYPE), "a schema of numbers");
    }
}
