//! XML event by event. Names lose their prefixes; entities that a document declares are not
//! expanded, nothing is fetched, and each event and the depth have a bound. How large the whole
//! document may be is the caller's.

use std::cell::Cell;
use std::io::{self, BufRead, Read};
use std::rc::Rc;

use quick_xml::events::{BytesStart, Event};

/// Largest tag or run of text, in bytes.
pub const EVENT_BYTES_MAX: usize = 4 << 20;
/// Elements within one another.
pub const DEPTH_MAX: usize = 64;

/// What a reader sees.
#[derive(Debug)]
pub enum Node<'a> {
    /// An element begins; [`Node::Close`] follows, for an empty one as well.
    Open(&'a str, &'a Attributes),
    /// Text within an element, which may come in pieces.
    Text(&'a str),
    /// An element ends.
    Close(&'a str),
}

/// The attributes of an element.
#[derive(Debug, Default)]
pub struct Attributes(Vec<(String, String)>);

impl Attributes {
    /// The value of `name`; empty when it is absent.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }
}

/// Reads a document; `visit` is given each event, and its error ends the reading. `bad` makes that
/// error of what is wrong with the document, or of what its reader says.
pub fn each<E>(
    inner: impl BufRead,
    bad: impl Fn(io::Error) -> E,
    visit: &mut dyn FnMut(Node<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let room = Rc::new(Cell::new(0));
    let mut reader = quick_xml::Reader::from_reader(Gate { inner, room: Rc::clone(&room) });
    let wrong = |error: quick_xml::Error| match error {
        quick_xml::Error::Io(error) => io::Error::new(error.kind(), error.to_string()),
        other => io::Error::other(other),
    };
    let (mut buffer, mut depth, mut is_empty) = (Vec::new(), 0_usize, true);
    loop {
        buffer.clear();
        room.set(EVENT_BYTES_MAX);
        match reader.read_event_into(&mut buffer).map_err(|error| bad(wrong(error)))? {
            Event::Eof => break,
            Event::Start(tag) => {
                is_empty = false;
                depth += 1;
                if depth > DEPTH_MAX {
                    return Err(bad(io::Error::other("elements nest too deeply")));
                }
                visit(Node::Open(tag.local_name().as_ref(), &attributes(&tag)))?;
            }
            Event::Empty(tag) => {
                is_empty = false;
                visit(Node::Open(tag.local_name().as_ref(), &attributes(&tag)))?;
                visit(Node::Close(tag.local_name().as_ref()))?;
            }
            Event::End(tag) => {
                depth = depth.saturating_sub(1);
                visit(Node::Close(tag.local_name().as_ref()))?;
            }
            Event::Text(text) => visit(Node::Text(&text.xml10_content()))?,
            Event::CData(text) => visit(Node::Text(&text.xml10_content()))?,
            Event::GeneralRef(name) => {
                let name = name.borrow().into_inner();
                let whole = format!("&{name};");
                // An entity of the document's own stays what it is called.
                let text = quick_xml::escape::unescape(&whole).unwrap_or((&whole).into());
                visit(Node::Text(&text))?;
            }
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
        }
    }
    if is_empty || depth > 0 {
        return Err(bad(io::Error::other("the document ends too early")));
    }
    Ok(())
}

fn attributes(tag: &BytesStart<'_>) -> Attributes {
    let mut all = tag.attributes();
    let pairs = all.with_checks(false).flatten().map(|attribute| {
        let value = quick_xml::escape::unescape(&attribute.value)
            .map_or_else(|_| attribute.value.to_string(), std::borrow::Cow::into_owned);
        (attribute.key.local_name().as_ref().to_string(), value)
    });
    Attributes(pairs.collect())
}

/// Ends the reading when one event asks for more than its room: the parser would buffer it.
struct Gate<R> {
    inner: R,
    room: Rc<Cell<usize>>,
}

impl<R: BufRead> Read for Gate<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let n = available.len().min(buffer.len());
        buffer[..n].copy_from_slice(&available[..n]);
        self.consume(n);
        Ok(n)
    }
}

impl<R: BufRead> BufRead for Gate<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let room = self.room.get();
        if room == 0 {
            return Err(io::Error::other("a tag or a text is larger than 4 MiB"));
        }
        let available = self.inner.fill_buf()?;
        Ok(available.get(..room).unwrap_or(available))
    }

    fn consume(&mut self, n: usize) {
        self.room.set(self.room.get().saturating_sub(n));
        self.inner.consume(n);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(text: &str) -> io::Result<String> {
        let mut out = String::new();
        each(text.as_bytes(), |error| error, &mut |node| {
            match node {
                Node::Open(name, attributes) => {
                    out += &["<", name, " ", attributes.get("a"), ">"].concat();
                }
                Node::Text(text) => out += text,
                Node::Close(name) => out += &["</", name, ">"].concat(),
            }
            Ok(())
        })?;
        Ok(out)
    }

    #[test]
    fn events_come_in_order_and_entities_are_not_expanded() {
        let text = "<?xml version='1.0'?><!DOCTYPE x [<!ENTITY e 'boom'>]><x:r a='1&amp;'>t&lt;&e;<b/></x:r>";
        assert_eq!(seen(text).unwrap(), "<r 1&>t<&e;<b ></b></r>");
        for bad in ["", "<a>", "<a></b>", "text"] {
            assert!(seen(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn events_and_depth_are_bounded() {
        let deep = |n: usize| format!("{}{}", "<a>".repeat(n), "</a>".repeat(n));
        assert!(seen(&deep(DEPTH_MAX)).is_ok());
        assert!(seen(&deep(DEPTH_MAX + 1)).is_err());
        assert!(seen(&format!("<a>{}</a>", "x".repeat(EVENT_BYTES_MAX - 100))).is_ok());
        assert!(seen(&format!("<a>{}</a>", "x".repeat(EVENT_BYTES_MAX + 100))).is_err());
        assert!(seen(&format!("<a b='{}'/>", "x".repeat(EVENT_BYTES_MAX + 100))).is_err());
    }
}
