//! Names of the MITRE ATT&CK techniques and tactics that rules tag.
//!
//! Names and numbers: MITRE ATT&CK for Enterprise, <https://attack.mitre.org>. A
//! technique that is not listed is shown by its number alone.

/// ATT&CK's tactics in the order in which it lists them.
pub const TACTICS: [&str; 12] = [
    "Initial Access",
    "Execution",
    "Persistence",
    "Privilege Escalation",
    "Defense Evasion",
    "Credential Access",
    "Discovery",
    "Lateral Movement",
    "Collection",
    "Command and Control",
    "Exfiltration",
    "Impact",
];

/// Technique, its name, and the tactic under which it is shown.
const TECHNIQUES: [(&str, &str, &str); 90] = [
    ("T1003", "OS Credential Dumping", "Credential Access"),
    ("T1003.007", "Proc Filesystem", "Credential Access"),
    ("T1003.008", "/etc/passwd and /etc/shadow", "Credential Access"),
    ("T1006", "Direct Volume Access", "Defense Evasion"),
    ("T1014", "Rootkit", "Defense Evasion"),
    ("T1016", "System Network Configuration Discovery", "Discovery"),
    ("T1018", "Remote System Discovery", "Discovery"),
    ("T1021.004", "SSH", "Lateral Movement"),
    ("T1027", "Obfuscated Files or Information", "Defense Evasion"),
    ("T1033", "System Owner or User Discovery", "Discovery"),
    ("T1036", "Masquerading", "Defense Evasion"),
    ("T1036.005", "Match Legitimate Resource Name or Location", "Defense Evasion"),
    ("T1037", "Boot or Logon Initialization Scripts", "Persistence"),
    ("T1040", "Network Sniffing", "Credential Access"),
    ("T1041", "Exfiltration Over C2 Channel", "Exfiltration"),
    ("T1046", "Network Service Discovery", "Discovery"),
    ("T1048", "Exfiltration Over Alternative Protocol", "Exfiltration"),
    ("T1053.002", "At", "Persistence"),
    ("T1053.003", "Cron", "Persistence"),
    ("T1053.006", "Systemd Timers", "Persistence"),
    ("T1053.007", "Container Orchestration Job", "Persistence"),
    ("T1055", "Process Injection", "Privilege Escalation"),
    ("T1055.008", "Ptrace System Calls", "Privilege Escalation"),
    ("T1055.009", "Proc Memory", "Privilege Escalation"),
    ("T1057", "Process Discovery", "Discovery"),
    ("T1059", "Command and Scripting Interpreter", "Execution"),
    ("T1059.004", "Unix Shell", "Execution"),
    ("T1059.006", "Python", "Execution"),
    ("T1068", "Exploitation for Privilege Escalation", "Privilege Escalation"),
    ("T1070.002", "Clear Linux or Mac System Logs", "Defense Evasion"),
    ("T1070.003", "Clear Command History", "Defense Evasion"),
    ("T1070.004", "File Deletion", "Defense Evasion"),
    ("T1070.006", "Timestomp", "Defense Evasion"),
    ("T1071", "Application Layer Protocol", "Command and Control"),
    ("T1071.004", "DNS", "Command and Control"),
    ("T1078", "Valid Accounts", "Initial Access"),
    ("T1082", "System Information Discovery", "Discovery"),
    ("T1090.003", "Multi-hop Proxy", "Command and Control"),
    ("T1095", "Non-Application Layer Protocol", "Command and Control"),
    ("T1098", "Account Manipulation", "Persistence"),
    ("T1098.004", "SSH Authorized Keys", "Persistence"),
    ("T1105", "Ingress Tool Transfer", "Command and Control"),
    ("T1110", "Brute Force", "Credential Access"),
    ("T1110.001", "Password Guessing", "Credential Access"),
    ("T1110.003", "Password Spraying", "Credential Access"),
    ("T1129", "Shared Modules", "Execution"),
    ("T1133", "External Remote Services", "Initial Access"),
    ("T1136.001", "Local Account", "Persistence"),
    ("T1140", "Deobfuscate or Decode Files or Information", "Defense Evasion"),
    ("T1190", "Exploit Public-Facing Application", "Initial Access"),
    ("T1204.002", "Malicious File", "Execution"),
    ("T1222.002", "Linux and Mac File and Directory Permissions Modification", "Defense Evasion"),
    ("T1485", "Data Destruction", "Impact"),
    ("T1486", "Data Encrypted for Impact", "Impact"),
    ("T1496", "Resource Hijacking", "Impact"),
    ("T1496.001", "Compute Hijacking", "Impact"),
    ("T1499.001", "OS Exhaustion Flood", "Impact"),
    ("T1505.003", "Web Shell", "Persistence"),
    ("T1525", "Implant Internal Image", "Persistence"),
    ("T1528", "Steal Application Access Token", "Credential Access"),
    ("T1529", "System Shutdown or Reboot", "Impact"),
    ("T1543.002", "Systemd Service", "Persistence"),
    ("T1543.005", "Container Service", "Persistence"),
    ("T1546", "Event Triggered Execution", "Persistence"),
    ("T1546.004", "Unix Shell Configuration Modification", "Persistence"),
    ("T1547.006", "Kernel Modules and Extensions", "Persistence"),
    ("T1548.001", "Setuid and Setgid", "Privilege Escalation"),
    ("T1548.003", "Sudo and Sudo Caching", "Privilege Escalation"),
    ("T1552.001", "Credentials In Files", "Credential Access"),
    ("T1552.003", "Shell History", "Credential Access"),
    ("T1552.004", "Private Keys", "Credential Access"),
    ("T1552.005", "Cloud Instance Metadata API", "Credential Access"),
    ("T1552.007", "Container API", "Credential Access"),
    ("T1556", "Modify Authentication Process", "Credential Access"),
    ("T1560.001", "Archive via Utility", "Collection"),
    ("T1562.001", "Disable or Modify Tools", "Defense Evasion"),
    ("T1562.003", "Impair Command History Logging", "Defense Evasion"),
    ("T1562.004", "Disable or Modify System Firewall", "Defense Evasion"),
    ("T1564.001", "Hidden Files and Directories", "Defense Evasion"),
    ("T1567", "Exfiltration Over Web Service", "Exfiltration"),
    ("T1570", "Lateral Tool Transfer", "Lateral Movement"),
    ("T1571", "Non-Standard Port", "Command and Control"),
    ("T1572", "Protocol Tunneling", "Command and Control"),
    ("T1574.006", "Dynamic Linker Hijacking", "Persistence"),
    ("T1609", "Container Administration Command", "Execution"),
    ("T1610", "Deploy Container", "Execution"),
    ("T1611", "Escape to Host", "Privilege Escalation"),
    ("T1613", "Container and Resource Discovery", "Discovery"),
    ("T1620", "Reflective Code Loading", "Defense Evasion"),
    ("T1622", "Debugger Evasion", "Defense Evasion"),
];

/// Name and tactic of technique `id`.
pub fn technique(id: &str) -> Option<(&'static str, &'static str)> {
    let at = TECHNIQUES.binary_search_by_key(&id, |(id, _, _)| id).ok()?;
    Some((TECHNIQUES[at].1, TECHNIQUES[at].2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_complete() {
        assert!(TECHNIQUES.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert_eq!(technique("T1611"), Some(("Escape to Host", "Privilege Escalation")));
        assert_eq!(technique("T9999"), None);
    }

    #[test]
    fn every_technique_of_the_built_in_rules_has_a_name() {
        let words =
            |text: &'static str| text.split(|c: char| !c.is_ascii_alphanumeric() && c != '.');
        for word in crate::BUILTIN_RULES.iter().flat_map(|(_, text)| words(text)) {
            let tag = [word.to_string()];
            for id in crate::incident::techniques(&tag) {
                assert!(technique(id).is_some(), "{id} has no name");
            }
        }
    }
}
