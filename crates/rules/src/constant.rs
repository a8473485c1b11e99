//! Constants of conditions, read as the field on the left needs them.

use std::cmp::Ordering;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::ast::Relation;
use crate::fields::{Value, ValueType};
use crate::matcher::{compare_bytes, compare_ip, compare_net};

/// A constant of a known type.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Constant {
    Int(i64),
    /// An unsigned number. A negative one wraps around at the width of the field; the
    /// width is not known here, so both forms are kept.
    Uint {
        wide: u64,
        narrow: u64,
    },
    Double(f64),
    Bool(bool),
    Text(Box<[u8]>),
    Ip(IpAddr),
    Net(IpNet),
}

impl Constant {
    /// Reads `text` as a value of `value_type`; the error is Falco's message.
    pub(crate) fn parse(text: &str, value_type: ValueType) -> Result<Self, String> {
        match value_type {
            ValueType::Int => parse_int(text).map(Self::Int),
            ValueType::Uint | ValueType::RelativeTime | ValueType::AbsoluteTime => parse_uint(text),
            ValueType::Double => {
                // Only whole numbers, although the field is not.
                let number = parse_int(text)?;
                let number =
                    i32::try_from(number).map_err(|_| format!("{text} is not a valid number"))?;
                Ok(Self::Double(f64::from(number)))
            }
            ValueType::Bool => match text {
                "true" => Ok(Self::Bool(true)),
                "false" => Ok(Self::Bool(false)),
                _ => Err(format!("filter error: unrecognized boolean value {text}")),
            },
            ValueType::Text | ValueType::Path | ValueType::Bytes => {
                Ok(Self::Text(text.as_bytes().into()))
            }
            ValueType::Ip => parse_ip(text).map(Self::Ip),
            ValueType::Net => parse_net(text).map(Self::Net),
            // Refused before a constant is read.
            ValueType::Opaque => Err(format!("{text} cannot be compared with this type")),
            ValueType::Port => parse_port(text).map(|port| Self::Uint { wide: port, narrow: port }),
        }
    }

    /// The constant as bytes, if it is text.
    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Text(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// A value of an event as a constant; nothing for text, which is not copied.
    pub(crate) fn of_value(value: Value<'_>) -> Option<Self> {
        Some(match value {
            Value::Int(n) => Self::Int(n),
            Value::Uint(n) => Self::Uint { wide: n, narrow: n },
            Value::Double(n) => Self::Double(n),
            Value::Bool(b) => Self::Bool(b),
            Value::Ip(address) => Self::Ip(address),
            Value::Net(network) => Self::Net(network),
            Value::Text(_) | Value::Bytes(_) => return None,
        })
    }

    /// Whether `value` stands in `relation` to the constant.
    pub(crate) fn compare(&self, relation: Relation, value: Value<'_>) -> bool {
        match (self, value) {
            (Self::Text(right), Value::Text(left) | Value::Bytes(left)) => {
                compare_bytes(relation, left, right)
            }
            (Self::Bool(right), Value::Bool(left)) => ordered(relation, Some(left.cmp(right))),
            (Self::Bool(right), Value::Uint(left)) => {
                ordered(relation, Some((left != 0).cmp(right)))
            }
            (Self::Ip(right), Value::Ip(left)) => compare_ip(relation, left, *right),
            (Self::Net(right), Value::Ip(left)) => compare_net(relation, left, right),
            (Self::Net(right), Value::Net(left)) => compare_net(relation, left.addr(), right),
            (Self::Double(right), _) => {
                ordered(relation, as_f64(value).and_then(|left| left.partial_cmp(right)))
            }
            (Self::Int(right), _) => {
                ordered(relation, as_i128(value).map(|left| left.cmp(&i128::from(*right))))
            }
            (Self::Uint { wide, narrow }, _) => {
                let order = as_i128(value).map(|left| {
                    let right = if left <= i128::from(u32::MAX) { *narrow } else { *wide };
                    left.cmp(&i128::from(right))
                });
                ordered(relation, order)
            }
            _ => false,
        }
    }
}

fn as_i128(value: Value<'_>) -> Option<i128> {
    match value {
        Value::Int(n) => Some(i128::from(n)),
        Value::Uint(n) => Some(i128::from(n)),
        Value::Bool(b) => Some(i128::from(b)),
        Value::Double(n) => Some(n as i128),
        _ => None,
    }
}

fn as_f64(value: Value<'_>) -> Option<f64> {
    match value {
        Value::Int(n) => Some(n as f64),
        Value::Uint(n) => Some(n as f64),
        Value::Double(n) => Some(n),
        _ => None,
    }
}

fn ordered(relation: Relation, order: Option<Ordering>) -> bool {
    let Some(order) = order else { return false };
    match relation {
        Relation::Equal | Relation::In | Relation::Intersects => order.is_eq(),
        Relation::NotEqual => order.is_ne(),
        Relation::Less => order.is_lt(),
        Relation::LessOrEqual => order.is_le(),
        Relation::Greater => order.is_gt(),
        Relation::GreaterOrEqual => order.is_ge(),
        _ => false,
    }
}

fn not_a_number(text: &str) -> String {
    format!("{text} is not a valid number")
}

fn parse_int(text: &str) -> Result<i64, String> {
    text.trim_start().parse().map_err(|_| not_a_number(text))
}

fn parse_uint(text: &str) -> Result<Constant, String> {
    let trimmed = text.trim_start();
    if let Some(digits) = trimmed.strip_prefix('-') {
        if !digits.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(not_a_number(text));
        }
        let magnitude: u64 = digits.parse().map_err(|_| not_a_number(text))?;
        let wide = magnitude.wrapping_neg();
        return Ok(Constant::Uint { wide, narrow: wide & u64::from(u32::MAX) });
    }
    let wide = trimmed.parse().map_err(|_| not_a_number(text))?;
    Ok(Constant::Uint { wide, narrow: wide })
}

fn parse_ip(text: &str) -> Result<IpAddr, String> {
    if text.contains('.') {
        let address = text.parse::<Ipv4Addr>();
        address.map(IpAddr::V4).map_err(|_| format!("unrecognized IPv4 address {text}"))
    } else {
        let address = text.parse::<Ipv6Addr>();
        address.map(IpAddr::V6).map_err(|_| format!("unrecognized IPv6 address {text}"))
    }
}

fn parse_net(text: &str) -> Result<IpNet, String> {
    let Some((address, length)) = text.split_once('/') else {
        return Err(format!("unrecognized IP network {text}"));
    };
    let address: IpAddr = address.parse().map_err(|_| format!("unrecognized IP address {text}"))?;
    let length: u8 = length.parse().map_err(|_| format!("invalid netmask {length}"))?;
    let network = match address {
        IpAddr::V4(address) => Ipv4Net::new(address, length).map(IpNet::V4),
        IpAddr::V6(address) => Ipv6Net::new(address, length).map(IpNet::V6),
    };
    network.map_err(|_| format!("invalid netmask {length}"))
}

/// Names of ports that rules may use; `getservbyname` would read the host's.
const SERVICES: [(&str, u64); 30] = [
    ("ftp-data", 20),
    ("ftp", 21),
    ("ssh", 22),
    ("telnet", 23),
    ("smtp", 25),
    ("domain", 53),
    ("bootps", 67),
    ("bootpc", 68),
    ("tftp", 69),
    ("http", 80),
    ("kerberos", 88),
    ("pop3", 110),
    ("sunrpc", 111),
    ("ntp", 123),
    ("imap2", 143),
    ("snmp", 161),
    ("ldap", 389),
    ("https", 443),
    ("microsoft-ds", 445),
    ("syslog", 514),
    ("submission", 587),
    ("ldaps", 636),
    ("rsync", 873),
    ("imaps", 993),
    ("pop3s", 995),
    ("nfs", 2049),
    ("mysql", 3306),
    ("postgresql", 5432),
    ("amqp", 5672),
    ("redis", 6379),
];

fn parse_port(text: &str) -> Result<u64, String> {
    if text.is_empty() {
        return Ok(0);
    }
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse::<u16>().map(u64::from).map_err(|_| not_a_number(text));
    }
    SERVICES
        .iter()
        .find(|(name, _)| *name == text)
        .map(|(_, port)| *port)
        .ok_or_else(|| format!("unrecognized protocol {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(constant: &str, value_type: ValueType, relation: Relation, value: Value<'_>) -> bool {
        Constant::parse(constant, value_type).unwrap().compare(relation, value)
    }

    #[test]
    fn negative_constants_wrap_at_the_width() {
        assert!(check("-1", ValueType::Uint, Relation::Equal, Value::Uint(0xffff_ffff)));
        assert!(check("-1", ValueType::Uint, Relation::Equal, Value::Uint(u64::MAX)));
        assert!(check("-20", ValueType::Uint, Relation::Less, Value::Uint(4096)));
        assert!(check("-1", ValueType::Int, Relation::Equal, Value::Int(-1)));
    }

    #[test]
    fn networks_take_host_bits_and_refuse_bare_addresses() {
        let address = Value::Ip("10.1.2.3".parse().unwrap());
        assert!(check("10.9.9.9/8", ValueType::Net, Relation::Equal, address));
        assert!(check("2001:db8::/32", ValueType::Net, Relation::NotEqual, address));
        for text in ["10.0.0.1", "10.0.0.1/33", "x/8"] {
            assert!(Constant::parse(text, ValueType::Net).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_are_decimal_and_whole() {
        for text in ["0x10", "1.0", "", "a", "1 "] {
            assert!(Constant::parse(text, ValueType::Uint).is_err(), "{text}");
        }
        assert!(Constant::parse("1.0", ValueType::Double).is_err());
        assert_eq!(Constant::parse("https", ValueType::Port).unwrap().bytes(), None);
    }
}
