//! Interfaces: not the host's, and no forged addresses or router advertisements from them.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use palisade_base::Digest;

use super::{LxcFacts, LxcLevel, Work};

/// Interfaces of a container that are looked at.
const INTERFACES_MAX: usize = 64;
/// Characters of an interface's name (`IFNAMSIZ` without the final zero).
const NAME_CHARS_MAX: usize = 15;

impl Work {
    /// Judges each interface; returns rules for `nft -f` and settings for `sysctl.d`.
    pub(super) fn network(&mut self, facts: &LxcFacts) -> (String, String) {
        let indexes: BTreeSet<u32> = self
            .lines
            .iter()
            .filter_map(|line| line.key.strip_prefix("lxc.net.")?.split('.').next()?.parse().ok())
            .take(INTERFACES_MAX)
            .collect();
        let mut rules = String::new();
        let mut links = BTreeSet::new();
        for i in indexes {
            let value = |work: &Self, name: &str| work.last(&format!("lxc.net.{i}.{name}"));
            let kind = value(self, "type");
            match kind.as_ref().map(|(index, number, kind)| (*index, *number, kind.as_str())) {
                Some((index, number, "none")) => {
                    let message = "the container has the host's network";
                    let fix = "empty: loopback only; name a veth on a bridge for more";
                    let key = format!("lxc.net.{i}.type");
                    self.find(number, &key, LxcLevel::High, [message, fix]);
                    self.replace(index, "empty");
                }
                Some((_, number, "phys")) => {
                    let message = "an interface of the host is the container's alone";
                    let key = format!("lxc.net.{i}.type");
                    let fix = "use a veth on a bridge if it is not meant so";
                    self.find(number, &key, LxcLevel::Note, [message, fix]);
                }
                Some((_, number, kind @ ("macvlan" | "ipvlan" | "vlan"))) => {
                    let message = format!(
                        "`{kind}` speaks to the host's network beside the host: no filter of a \
                         bridge sees what it forges"
                    );
                    let key = format!("lxc.net.{i}.type");
                    let fix = "use a veth on a bridge if the network is not the container's alone";
                    self.find(number, &key, LxcLevel::Note, [&message, fix]);
                }
                Some((_, _, "veth")) => {
                    if let Some((_, _, link)) = value(self, "link")
                        && is_name(&link)
                    {
                        self.advertisements(i, &link, facts);
                        links.insert(link);
                    }
                    self.forgery(i, facts, &mut rules);
                }
                _ => {}
            }
        }
        let mut sysctl = String::new();
        for link in links {
            let _ = writeln!(
                sysctl,
                "# A container on it could say that it is the router.\nnet.ipv6.conf.{link}.accept_ra = 0"
            );
        }
        if rules.is_empty() {
            return (String::new(), sysctl);
        }
        let table: String = table_name(&facts.name);
        let filter = format!(
            "# The first two lines make loading it again replace it.\ntable bridge {table}\n\
             delete table bridge {table}\ntable bridge {table} {{\n  chain forged {{\n    \
             type filter hook prerouting priority -300; policy accept;\n{rules}  }}\n}}\n"
        );
        (filter, sysctl)
    }

    fn advertisements(&mut self, i: u32, link: &str, facts: &LxcFacts) {
        if facts.accept_ra.get(link).is_some_and(|value| *value > 0) {
            let number = self.last(&format!("lxc.net.{i}.link")).map_or(0, |(_, number, _)| number);
            let message = format!(
                "the host believes router advertisements on `{link}` (accept_ra), and so a \
                 container that says it is the router"
            );
            let fix = format!("net.ipv6.conf.{link}.accept_ra = 0");
            let key = format!("lxc.net.{i}.link");
            self.find(number, &key, LxcLevel::Medium, [&message, &fix]);
        }
    }

    /// Rules for one interface, which needs a name on the host and a fixed address.
    fn forgery(&mut self, i: u32, facts: &LxcFacts, rules: &mut String) {
        let key = |name: &str| format!("lxc.net.{i}.{name}");
        let pair = match self.last(&key("veth.pair")) {
            Some((_, _, pair)) if is_name(&pair) => pair,
            _ => {
                let pair = format!("p{}-{i}", short(&facts.name));
                self.add(&key("veth.pair"), &pair);
                pair
            }
        };
        let mac = self.last(&key("hwaddr")).map(|(_, _, mac)| mac.to_ascii_lowercase());
        let mac = if let Some(mac) = mac.filter(|mac| is_mac(mac)) {
            mac
        } else {
            let mac = made_mac(&facts.name, i);
            let message = "its address changes, so a forged one cannot be told from it";
            self.find(0, &key("hwaddr"), LxcLevel::Low, [message, &mac]);
            for (index, ..) in self.of(&key("hwaddr")) {
                self.remove(index);
            }
            self.add(&key("hwaddr"), &mac);
            mac
        };
        let _ = writeln!(rules, "    iifname \"{pair}\" ether saddr != {mac} drop");
        let _ = writeln!(rules, "    iifname \"{pair}\" arp saddr ether != {mac} drop");
        for (name, family, length) in [("ipv4.address", "ip", 32), ("ipv6.address", "ip6", 128)] {
            let all = self.of(&key(name));
            let addresses: Vec<String> = all
                .iter()
                .filter_map(|(_, _, value)| {
                    let address = value.split(['/', ' ']).next()?;
                    address.parse::<std::net::IpAddr>().ok().map(|address| address.to_string())
                })
                .collect();
            if addresses.is_empty() {
                let message = format!("no fixed address, so forged ones of {family} pass");
                let fix = format!("name it: {} = ADDRESS/{length}", key(name));
                self.find(0, &key(name), LxcLevel::Note, [&message, &fix]);
                continue;
            }
            let set = addresses.join(", ");
            let own = if family == "ip" { "0.0.0.0" } else { "fe80::/10, ::" };
            let _ =
                writeln!(rules, "    iifname \"{pair}\" {family} saddr != {{ {set}, {own} }} drop");
            if family == "ip" {
                let _ = writeln!(
                    rules,
                    "    iifname \"{pair}\" arp saddr ip != {{ {set}, 0.0.0.0 }} drop"
                );
            }
        }
        let _ = writeln!(
            rules,
            "    iifname \"{pair}\" icmpv6 type {{ nd-router-advert, nd-redirect }} drop"
        );
    }
}

/// Whether `text` can be an interface's name in a rule without being more than a name.
fn is_name(text: &str) -> bool {
    (1..=NAME_CHARS_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
}

fn is_mac(text: &str) -> bool {
    let mut n = 0;
    let fine = text.split(':').all(|part| {
        n += 1;
        part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit())
    });
    fine && n == 6
}

fn short(name: &str) -> String {
    Digest::of(name.as_bytes()).hex().chars().take(8).collect()
}

/// A locally administered address that stays the same for a name.
fn made_mac(name: &str, i: u32) -> String {
    let hex = Digest::of(format!("{name}/{i}").as_bytes()).hex();
    let part = |at: usize| hex.get(at..at + 2).unwrap_or("00").to_string();
    format!("02:{}:{}:{}:{}:{}", part(0), part(2), part(4), part(6), part(8))
}

fn table_name(name: &str) -> String {
    format!("palisade_{}", short(name))
}
