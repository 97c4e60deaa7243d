//! What a listener says in a multistream-select negotiation.
//!
//! A dialer may propose protocols in advance; only what the listener echoes is agreed. The
//! listener's bytes begin with its header and the answers, so they can be read without the dialer's.

const LONGEST: usize = 1024; // of a message; rust-libp2p itself allows 16 KiB
const HEADER: &[u8] = b"/multistream/1.0.0\n";
const REFUSED: &[u8] = b"na\n";

/// The negotiation as far as it was heard.
struct Negotiation {
    begun: bool,
    pending: Vec<u8>,
}

/// What is known after some bytes.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Part,
    Agreed(String),
    /// It is not multistream-select, or has what no protocol of libp2p has.
    Other,
}

impl Negotiation {
    fn new() -> Self {
        Self {
            begun: false,
            pending: Vec::new(),
        }
    }

    /// Takes bytes of the listener, in their order. After another answer than `Part` there is
    /// nothing more to hear.
    fn hear(&mut self, bytes: &[u8]) -> Heard {
        for part in bytes.chunks(LONGEST) {
            self.pending.extend_from_slice(part);
            let heard = self.messages();
            if heard != Heard::Part {
                return heard;
            }
        }
        Heard::Part
    }

    /// Takes what is complete; the part of a message that is left is no longer than one may be.
    fn messages(&mut self) -> Heard {
        loop {
            let (len, rest) = match unsigned_varint::decode::usize(&self.pending) {
                Ok((len, _)) if len == 0 || len > LONGEST => return Heard::Other,
                Ok(decoded) => decoded,
                Err(unsigned_varint::decode::Error::Insufficient) => return Heard::Part,
                Err(_) => return Heard::Other,
            };
            let Some(message) = rest.get(..len) else {
                return Heard::Part;
            };
            match message {
                HEADER if !self.begun => self.begun = true,
                REFUSED if self.begun => {}
                [b'/', .., b'\n'] if self.begun => {
                    return match std::str::from_utf8(&message[..len - 1]) {
                        Ok(name) => Heard::Agreed(name.to_owned()),
                        Err(_) => Heard::Other,
                    }
                }
                _ => return Heard::Other,
            }
            let used = self.pending.len() - rest.len() + len;
            self.pending.drain(..used);
        }
    }
}

/// Hears one negotiation, whichever way the listener's bytes go.
pub(crate) struct Ear {
    negotiation: Option<Negotiation>, // None: it is over
    dialed: bool,
}

impl Ear {
    pub(crate) fn new(dialed: bool) -> Self {
        Self {
            negotiation: Some(Negotiation::new()),
            dialed,
        }
    }

    /// The first so many `bytes` of `bufs` were received. What was agreed is told once.
    pub(crate) fn received<'a>(
        &mut self,
        bytes: usize,
        bufs: impl IntoIterator<Item = &'a [u8]>,
    ) -> Option<String> {
        self.dialed.then(|| self.hear(bytes, bufs))?
    }

    /// The first so many `bytes` of `bufs` were sent. What was agreed is told once.
    pub(crate) fn sent<'a>(
        &mut self,
        bytes: usize,
        bufs: impl IntoIterator<Item = &'a [u8]>,
    ) -> Option<String> {
        (!self.dialed).then(|| self.hear(bytes, bufs))?
    }

    fn hear<'a>(
        &mut self,
        mut bytes: usize,
        bufs: impl IntoIterator<Item = &'a [u8]>,
    ) -> Option<String> {
        let negotiation = self.negotiation.as_mut()?;
        for buf in bufs {
            let part = &buf[..buf.len().min(bytes)];
            bytes -= part.len();
            let heard = negotiation.hear(part);
            if heard != Heard::Part {
                self.negotiation = None;
                return match heard {
                    Heard::Agreed(name) => Some(name),
                    _ => None,
                };
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &[u8] = b"\x13/multistream/1.0.0\n\x03na\n\x0c/echo/1.0.0\nand then data";

    #[test]
    fn what_the_listener_echoes_is_agreed_however_it_is_cut() {
        for cut in 0..SAID.len() {
            let mut negotiation = Negotiation::new();
            let heard = match negotiation.hear(&SAID[..cut]) {
                Heard::Part => negotiation.hear(&SAID[cut..]),
                done => done,
            };
            assert_eq!(heard, Heard::Agreed("/echo/1.0.0".into()), "cut at {cut}");
        }
    }

    #[test]
    fn nothing_else_is_taken_for_a_negotiation() {
        for said in [
            &b"\x0c/echo/1.0.0\n"[..],                      // no header
            b"\x13/multistream/1.0.0\n\x0b/echo/1.0.0",     // no end of line
            b"\x13/multistream/1.0.0\n\x05echo\n",          // no slash
            b"\x13/multistream/1.0.0\n\x05/\xff\xfe\xfd\n", // no UTF-8
            b"\x13/multistream/1.0.0\n\x00",
            b"\x13/multistream/1.0.0\n\xff\xff\xff\xff\x0f",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            b"GET / HTTP/1.1\r\n\r\n and so on, up to what would be its length, were it one: 71",
        ] {
            assert_eq!(Negotiation::new().hear(said), Heard::Other, "{said:?}");
        }
    }

    #[test]
    fn memory_is_bounded() {
        let mut negotiation = Negotiation::new();
        let header = &b"\x13/multistream/1.0.0\n"[..];
        let refusals = [header, &b"\x03na\n".repeat(10_000)].concat();
        for part in refusals.chunks(7).chain([&refusals[header.len()..]]) {
            assert_eq!(negotiation.hear(part), Heard::Part);
            assert!(negotiation.pending.capacity() <= 4 * LONGEST);
        }
        assert_eq!(negotiation.hear(b"\x03/a\n"), Heard::Agreed("/a".into()));
    }
}
