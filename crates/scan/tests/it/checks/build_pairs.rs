//! Dockerfiles, bad and good.

use super::{Pair, pair};

const D: &str = "Dockerfile";

pub(super) fn pairs() -> Vec<Pair> {
    let mut all = Vec::new();
    let mut add = |check, bad, at, good| all.push(pair(check, D, bad, at, good));
    add("image-runs-as-root", "FROM a\nRUN x\n", &[(1, 1)], "FROM a\nUSER 1000\n");
    add(
        "image-runs-as-root",
        "FROM a\nUSER 5\nUSER root:root\n",
        &[(3, 6)],
        "FROM a\nARG U\nUSER $U\n",
    );
    add(
        "image-runs-as-root",
        "FROM a AS b\nUSER 1\nFROM c\n",
        &[(3, 1)],
        "FROM a AS b\nUSER 1\nFROM b\n",
    );
    add(
        "image-runs-as-root",
        "FROM a\nONBUILD USER 5\n",
        &[(1, 1)],
        "FROM gcr.io/distroless/static:nonroot\n",
    );
    add(
        "mutable-tag",
        "FROM nginx\nFROM nginx:latest\n",
        &[(1, 6), (2, 6)],
        "FROM nginx:1 AS a\nFROM a\nFROM scratch\nFROM nginx@sha256:00\n",
    );
    add(
        "mutable-tag",
        "ARG T=latest\nFROM nginx:$T\nCOPY --from=busybox /a /b\n",
        &[(2, 6), (3, 1)],
        "ARG T\nFROM nginx:$T\nCOPY --from=0 /a /b\n",
    );
    add("base-not-pinned", "FROM nginx:1\n", &[(1, 6)], "FROM nginx:1@sha256:00\n");
    add("base-registry", "FROM nginx:1\n", &[(1, 6)], "FROM ghcr.io/ours/x:1\nFROM scratch\n");
    add(
        "secret-in-environment",
        "FROM a\nENV DB_PASSWORD=hunter22\n",
        &[(2, 5)],
        "FROM a\nENV DB_PASSWORD_FILE=/run/secrets/x TOKEN=$T PASSWORD=\n",
    );
    add(
        "secret-in-environment",
        "FROM a\nARG API_KEY\nARG X_TOKEN=abcdefg\n",
        &[(2, 5), (3, 5)],
        "FROM a\nARG VERSION=1\n",
    );
    add(
        "secret-in-label",
        "FROM a\nLABEL x=\"AKIAYVP4CIPPERUVIFXG\" y=1\n",
        &[(2, 7)],
        "FROM a\nLABEL org.opencontainers.image.title=x\n",
    );
    add(
        "secret-in-history",
        "FROM a\nRUN git clone https://AKIAYVP4CIPPERUVIFXG@h/x\n",
        &[(2, 1)],
        "FROM a\nRUN --mount=type=secret,id=t git clone https://h/x\n",
    );
    add(
        "secret-file-copied",
        "FROM a\nCOPY id_rsa /root/.ssh/\nADD .env app/server.key /x/\n",
        &[(2, 6), (3, 5), (3, 10)],
        "FROM a\nCOPY id_rsa.pub server.crt ca-cert.pem .env.example /x/\nCOPY --from=b /x/server.key /y/\n",
    );
    add(
        "remote-add",
        "FROM a\nADD https://h/x.tar /x/\n",
        &[(2, 5)],
        "FROM a\nADD --checksum=sha256:00 https://h/x.tar /x/\n",
    );
    add(
        "add-instead-of-copy",
        "FROM a\nADD app /srv/\n",
        &[(2, 1)],
        "FROM a\nADD app.tar.gz /srv/\nADD https://h/x /x\nADD git@github.com:a/b.git /x\n",
    );
    add(
        "pipe-to-shell",
        "FROM a\nRUN curl -sSL https://h/i | sudo bash -\n",
        &[(2, 29)],
        "FROM a\nRUN curl -sSLo i https://h/i && sha256sum -c s && sh i\n",
    );
    add(
        "pipe-to-shell",
        "FROM a\nRUN x && \\\n  wget -qO- https://h/i \\\n  | tee l | sh\nRUN sh -c \"$(curl -fsSL https://h)\"\nRUN bash <(curl https://h)\n",
        &[(4, 13), (5, 14), (6, 12)],
        "FROM a\nRUN curl https://h/i | tar x\nRUN cat x | sh\n",
    );
    add(
        "tls-verification-off",
        "FROM a\nRUN curl -kL https://h\nRUN npm config set strict-ssl false\nENV NODE_TLS_REJECT_UNAUTHORIZED=0\n",
        &[(2, 5), (3, 5), (4, 5)],
        "FROM a\nRUN curl -fL https://h -o k\nRUN wget https://h\nENV NODE_TLS_REJECT_UNAUTHORIZED=1\n",
    );
    add(
        "tls-verification-off",
        "FROM a\nRUN pip install --trusted-host h x\nRUN git -c http.sslVerify=false clone h\nRUN GIT_SSL_NO_VERIFY=true git clone h\n",
        &[(2, 5), (3, 5), (4, 5)],
        "FROM a\nRUN tar -k x && git clone h\n",
    );
    add(
        "signature-check-off",
        "FROM a\nRUN apt-get install --allow-unauthenticated x\nRUN apk add --allow-untrusted x\nRUN echo 'deb [trusted=yes] http://h ./' > /etc/apt/sources.list\n",
        &[(2, 5), (3, 5), (4, 5)],
        "FROM a\nRUN apt-get install x\nRUN echo 'deb [signed-by=/k] http://h ./' > /l\n",
    );
    add(
        "index-update-alone",
        "FROM a\nRUN apt-get update\nRUN apt-get install -y x\n",
        &[(2, 5)],
        "FROM a\nRUN apt-get update && apt-get install -y x\nRUN apk add x\n",
    );
    add(
        "distribution-upgrade",
        "FROM a\nRUN apt-get update && apt-get -y dist-upgrade\n",
        &[(2, 23)],
        "FROM a\nRUN apt-get update && apt-get install x\n",
    );
    add(
        "package-cache-left",
        "FROM a\nRUN apt-get update && apt-get install -y x\nRUN apk add y\nRUN pip install z\n",
        &[(2, 23), (3, 5), (4, 5)],
        "FROM a\nRUN apt-get update && apt-get install -y x && rm -rf /var/lib/apt/lists/*\nRUN apk add --no-cache y\nRUN --mount=type=cache,target=/root/.cache pip install z\nRUN dnf install -y x && dnf clean all\n",
    );
    add(
        "package-cache-left",
        "FROM a AS b\nRUN apk add y\nFROM b\n",
        &[(2, 5)],
        "FROM a AS b\nRUN apk add y\nFROM c\nCOPY --from=b /x /y\n",
    );
    add(
        "recommended-packages",
        "FROM a\nRUN apt-get install -y x\n",
        &[(2, 5)],
        "FROM a\nRUN apt-get install -y --no-install-recommends x\nRUN apt-get update\n",
    );
    add(
        "unpinned-packages",
        "FROM a\nRUN apt-get install -y x\nRUN pip install y==1 z\nRUN npm install -g w\n",
        &[(2, 5), (3, 5), (4, 5)],
        "FROM a\nRUN apt-get install -y x=1.2\nRUN pip install -r requirements.txt y==1\nRUN npm install\nRUN apk add --no-cache a=1 b~2 ./c.apk\nRUN npm i @a/b@1\n",
    );
    add(
        "sudo-installed",
        "FROM a\nRUN sudo make\nRUN apt-get install sudo\n",
        &[(2, 5), (3, 5)],
        "FROM a\nRUN make pseudo\n",
    );
    add(
        "sshd-installed",
        "FROM a\nRUN apt-get install -y openssh-server\n",
        &[(2, 5)],
        "FROM a\nRUN apt-get install -y openssh-client\n",
    );
    add("ssh-exposed", "FROM a\nEXPOSE 80 22/tcp\n", &[(2, 11)], "FROM a\nEXPOSE 80 2222\n");
    add("no-healthcheck", "FROM a\n", &[(1, 1)], "FROM a\nHEALTHCHECK CMD true\n");
    add(
        "no-healthcheck",
        "FROM a\nHEALTHCHECK NONE\n",
        &[(2, 1)],
        "FROM a AS b\nHEALTHCHECK CMD true\nFROM b\n",
    );
    add(
        "repeated-instruction",
        "FROM a\nCMD [\"a\"]\nCMD [\"b\"]\n",
        &[(3, 1)],
        "FROM a AS b\nCMD [\"a\"]\nFROM b\nCMD [\"b\"]\n",
    );
    add("working-folder-unsafe", "FROM a\nWORKDIR app\n", &[(2, 9)], "FROM a\nWORKDIR /app\n");
    add(
        "working-folder-unsafe",
        "FROM a\nWORKDIR /etc\n",
        &[(2, 9)],
        "FROM a\nARG D\nWORKDIR $D/x\n",
    );
    add(
        "password-set-in-build",
        "FROM a\nRUN echo root:x | chpasswd\nRUN useradd -p x y\n",
        &[(2, 19), (3, 5)],
        "FROM a\nRUN useradd -r y && passwd -l y\n",
    );
    add(
        "repository-copied",
        "FROM a\nCOPY . /app\nADD .git /x\n",
        &[(2, 6), (3, 5)],
        "FROM a AS b\nCOPY . /app\nFROM c\nCOPY --from=b . /app\nCOPY src/ /app\n",
    );
    add(
        "system-path-volume",
        "FROM a\nVOLUME [\"/etc\", \"/data\"]\n",
        &[(2, 8)],
        "FROM a\nVOLUME /data /var/lib/x\n",
    );
    add("shell-form", "FROM a\nCMD app --x\n", &[(2, 1)], "FROM a\nCMD [\"app\", \"--x\"]\n");
    add(
        "shell-form",
        "FROM a\nRUN curl x | tar x\n",
        &[(2, 14)],
        "FROM a\nSHELL [\"/bin/bash\", \"-o\", \"pipefail\", \"-c\"]\nRUN curl x | tar x\n",
    );
    all
}
