//! Passwords that whoever reads a server's own documentation knows.
//!
//! A short list on purpose: what a maker delivers, or prints in the example that everybody
//! copies. It is no list for guessing.

/// A name and password with where it is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credential {
    /// The server: `redis`, `postgresql`, `mysql`, `ssh`, `ftp`, `amqp`, `http`.
    pub service: &'static str,
    /// The user's name; empty where there is none.
    pub user: &'static str,
    /// The password.
    pub password: &'static str,
    /// Where it is written down.
    pub source: &'static str,
}

const fn known(
    service: &'static str,
    user: &'static str,
    password: &'static str,
    source: &'static str,
) -> Credential {
    Credential { service, user, password, source }
}

/// All of them.
#[rustfmt::skip] // a table
pub const CREDENTIALS: &[Credential] = &[
    known("redis", "", "foobared", "redis.conf, comment of requirepass"),
    known("redis", "", "redis", "compose files of examples"),
    known("redis", "", "password", "compose files of examples"),
    known("postgresql", "postgres", "postgres", "compose files of examples"),
    known("postgresql", "postgres", "mysecretpassword", "documentation of the image postgres"),
    known("postgresql", "postgres", "example", "documentation of the image postgres, compose file"),
    known("postgresql", "postgres", "password", "compose files of examples"),
    known("mysql", "root", "", "MYSQL_ALLOW_EMPTY_PASSWORD of the image mysql"),
    known("mysql", "root", "my-secret-pw", "documentation of the images mysql and mariadb"),
    known("mysql", "root", "example", "documentation of the images mysql and mariadb, compose file"),
    known("mysql", "root", "root", "XAMPP, MAMP, compose files of examples"),
    known("mysql", "root", "password", "compose files of examples"),
    known("ssh", "root", "root", "documentation of the images rastasheep/ubuntu-sshd and sickp/alpine-sshd"),
    known("ssh", "root", "screencast", "Docker: Dockerize an SSH service, a former example"),
    known("ftp", "ftp", "ftp", "examples of vsftpd and pyftpdlib"),
    known("ftp", "admin", "admin", "images of FTP servers"),
    known("ftp", "user", "password", "images of FTP servers"),
    known("ftp", "user", "12345", "tutorial of pyftpdlib"),
    known("amqp", "guest", "guest", "RabbitMQ, access control: the default user"),
    known("http", "admin", "admin", "Grafana, ActiveMQ, Karaf: the first login"),
    known("http", "guest", "guest", "RabbitMQ, management plug-in"),
    known("http", "tomcat", "tomcat", "Tomcat, comment of tomcat-users.xml"),
    known("http", "tomcat", "s3cret", "Tomcat, page of the manager that refuses"),
    known("http", "elastic", "changeme", "X-Pack of Elasticsearch 5"),
    known("http", "admin", "password", "Nexus and others: documentation"),
    known("http", "admin", "admin123", "Nexus Repository 2 and 3.0"),
    known("http", "root", "root", "InfluxDB 0.8"),
    known("http", "neo4j", "neo4j", "Neo4j, operations manual: the first login"),
];

/// A password that nobody has: who is let in with it is let in with any.
pub(crate) const NOBODYS: &str = "palisade-probe-no-such-password";

/// Those of one server.
pub(crate) fn of(service: &str) -> impl Iterator<Item = &'static Credential> {
    CREDENTIALS.iter().filter(move |credential| credential.service == service)
}
