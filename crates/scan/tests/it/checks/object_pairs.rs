//! Kubernetes objects, bad and good.

use super::{Pair, pair};

const K: &str = "k.yaml";

pub(super) fn pairs() -> Vec<Pair> {
    let mut all = Vec::new();
    let mut add = |check, bad, at, good| all.push(pair(check, K, bad, at, good));
    add(
        "secret-in-configmap",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  DB_PASSWORD: hunter22\n  app.ini: |\n    host = x\n    password = hunter22\n",
        &[(5, 16), (7, 5)],
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  DB_PASSWORD_FILE: /run/x\n  LOG: debug-info\n",
    );
    add(
        "service-account-token",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  serviceAccountName: b\n  containers: []\n",
        &[(5, 3)],
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  automountServiceAccountToken: false\n  containers: []\n",
    );
    add(
        "service-account-token",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  automountServiceAccountToken: true\n  containers: []\n",
        &[(5, 33)],
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {serviceAccountName: b, containers: []}\n---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {name: b}\nautomountServiceAccountToken: false\n",
    );
    add(
        "service-account-token",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {serviceAccountName: b, containers: []}\n---\napiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: c}\nroleRef: {kind: Role, name: r}\nsubjects: [{kind: ServiceAccount, name: z}]\n",
        &[(4, 7)],
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {serviceAccountName: b, containers: []}\n---\napiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: c}\nroleRef: {kind: Role, name: r}\nsubjects: [{kind: ServiceAccount, name: b}]\n",
    );
    add(
        "default-service-account",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: []}\n",
        &[(4, 7)],
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {serviceAccountName: b, containers: []}\n",
    );
    add(
        "default-service-account",
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: c}\nroleRef: {kind: Role, name: r}\nsubjects:\n- kind: ServiceAccount\n  name: default\n",
        &[(6, 3)],
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: c}\nroleRef: {kind: Role, name: r}\nsubjects:\n- kind: ServiceAccount\n  name: b\n",
    );
    add(
        "default-namespace",
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  namespace: kube-system\nspec: {containers: []}\n",
        &[(5, 14)],
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: shop}\nspec: {containers: []}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n",
    );
    add(
        "default-namespace",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: []}\n",
        &[(1, 1)],
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: shop}\nspec: {containers: []}\n",
    );
    add(
        "no-network-policy",
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: x, namespace: shop}\nspec: {podSelector: {matchLabels: {a: b}}, policyTypes: [Ingress]}\n",
        &[(1, 1)],
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: x, namespace: shop}\nspec: {podSelector: {}, policyTypes: [Ingress]}\n",
    );
    add(
        "no-network-policy",
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: x, namespace: shop}\nspec: {podSelector: {}, ingress: [{}]}\n",
        &[(1, 1)],
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: x, namespace: shop}\nspec: {podSelector: {}}\n",
    );
    add(
        "service-exposed",
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  type: NodePort\n",
        &[(5, 9)],
        "apiVersion: v1\nkind: Service\nmetadata: {name: a, annotations: {palisade.dev/allow-external: the shop}}\nspec: {type: LoadBalancer}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: b}\nspec: {type: ClusterIP}\n",
    );
    add(
        "ingress-unsafe",
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: a\n  annotations:\n    nginx.ingress.kubernetes.io/configuration-snippet: x\nspec: {tls: [{hosts: [a]}]}\n",
        &[(6, 5)],
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: a}\nspec: {tls: [{hosts: [a]}]}\n",
    );
    add(
        "ingress-unsafe",
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: a}\nspec: {}\n",
        &[(1, 1)],
        "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: a}\n",
    );
    add(
        "no-pod-security",
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n  labels:\n    pod-security.kubernetes.io/enforce: privileged\n",
        &[(6, 41)],
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, labels: {pod-security.kubernetes.io/enforce: restricted}}\n",
    );
    add(
        "removed-api",
        "apiVersion: batch/v1beta1\nkind: CronJob\nmetadata: {name: a}\n---\napiVersion: extensions/v1beta1\nkind: Ingress\nmetadata: {name: a}\n",
        &[(1, 13), (5, 13)],
        "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: a}\n",
    );
    rbac(&mut add);
    cluster(&mut add);
    all
}

type Add<'a> = &'a mut dyn FnMut(&'static str, &'static str, &'static [(u64, u64)], &'static str);

const ROLE_OK: &str = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: a}\nrules:\n- apiGroups: ['']\n  resources: [configmaps, services, pods]\n  verbs: [get, list, watch]\n- apiGroups: ['']\n  resources: [secrets]\n  resourceNames: [one]\n  verbs: [get]\n";

fn rbac(add: Add<'_>) {
    add(
        "cluster-admin-bound",
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: a}\nroleRef: {kind: ClusterRole, name: cluster-admin}\nsubjects:\n- kind: User\n  name: alice\n- kind: Group\n  name: system:masters\n",
        &[(6, 3)],
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: a}\nroleRef: {kind: ClusterRole, name: view}\nsubjects: [{kind: User, name: alice}]\n",
    );
    add(
        "wildcard-rule",
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: a}\nrules:\n- apiGroups: ['*']\n  resources: ['*']\n  verbs: ['*']\n",
        &[(6, 15), (7, 11)],
        ROLE_OK,
    );
    add(
        "wildcard-rule",
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: a}\nrules:\n- apiGroups: ['*']\n  resources: [pods]\n  verbs: [get]\n",
        &[(5, 15)],
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: 'system:x'}\nrules:\n- {apiGroups: ['*'], resources: ['*'], verbs: ['*']}\n",
    );
    add(
        "reads-secrets",
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: a}\nrules:\n- apiGroups: ['']\n  resources: [secrets]\n  verbs: [list]\n",
        &[(5, 3)],
        ROLE_OK,
    );
    add(
        "reads-secrets",
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: a}\nrules:\n- apiGroups: ['*']\n  resources: ['*']\n  verbs: [get]\n",
        &[(5, 3)],
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: a}\nrules:\n- {apiGroups: [apps], resources: ['*'], verbs: [get]}\n- {apiGroups: [''], resources: [secrets], verbs: [create]}\n",
    );
    add(
        "escalates",
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: a}\nrules:\n- apiGroups: [rbac.authorization.k8s.io]\n  resources: [clusterroles]\n  verbs: [bind]\n- apiGroups: ['']\n  resources: [users, groups]\n  verbs: [impersonate]\n- apiGroups: [rbac.authorization.k8s.io]\n  resources: [rolebindings]\n  verbs: [create]\n",
        &[(5, 3), (8, 3), (11, 3)],
        ROLE_OK,
    );
    add(
        "creates-workloads",
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: a}\nrules:\n- apiGroups: ['']\n  resources: [pods/exec]\n  verbs: [create]\n- apiGroups: [apps]\n  resources: [deployments]\n  verbs: [patch]\n",
        &[(5, 3), (8, 3)],
        ROLE_OK,
    );
    add(
        "reaches-nodes",
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: a}\nrules:\n- apiGroups: ['']\n  resources: [nodes/proxy]\n  verbs: [get]\n- apiGroups: ['']\n  resources: [serviceaccounts/token]\n  verbs: [create]\n- apiGroups: [certificates.k8s.io]\n  resources: [certificatesigningrequests/approval]\n  verbs: [update]\n- apiGroups: ['']\n  resources: [persistentvolumes]\n  verbs: [create]\n",
        &[(5, 3), (8, 3), (11, 3), (14, 3)],
        ROLE_OK,
    );
    add(
        "changes-admission",
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: a}\nrules:\n- apiGroups: [admissionregistration.k8s.io]\n  resources: [validatingwebhookconfigurations]\n  verbs: [delete]\n",
        &[(5, 3)],
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: a}\nrules:\n- apiGroups: [admissionregistration.k8s.io]\n  resources: [validatingwebhookconfigurations]\n  verbs: [get]\n",
    );
    add(
        "everybody-bound",
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: a}\nroleRef: {kind: ClusterRole, name: view}\nsubjects:\n- kind: Group\n  name: system:authenticated\n- kind: User\n  name: system:anonymous\n",
        &[(6, 3), (8, 3)],
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: a}\nroleRef: {kind: ClusterRole, name: system:discovery}\nsubjects: [{kind: Group, name: system:authenticated}]\n",
    );
}

const API_SERVER_OK: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: kube-apiserver}\nspec:\n  containers:\n  - command:\n    - kube-apiserver\n    - --anonymous-auth=false\n    - --authorization-mode=Node,RBAC\n    - --audit-log-path=/a\n    - --audit-policy-file=/b\n    - --encryption-provider-config=/c\n";
const API_SERVER_BAD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: kube-apiserver}\nspec:\n  containers:\n  - command:\n    - kube-apiserver\n    - --anonymous-auth=true\n    - --authorization-mode=AlwaysAllow\n";

fn cluster(add: Add<'_>) {
    add("api-server-open", API_SERVER_BAD, &[(8, 7), (9, 7)], API_SERVER_OK);
    add("audit-log-off", API_SERVER_BAD, &[(6, 5), (6, 5)], API_SERVER_OK);
    add(
        "audit-log-off",
        "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: None}]\n",
        &[(1, 1)],
        "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: None, users: [x]}, {level: Metadata}]\n",
    );
    add("secrets-not-encrypted", API_SERVER_BAD, &[(6, 5)], API_SERVER_OK);
    add(
        "secrets-not-encrypted",
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers:\n  - identity: {}\n",
        &[(6, 5)],
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers:\n  - aescbc: {keys: []}\n  - identity: {}\n",
    );
    add(
        "kubelet-open",
        "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nauthentication:\n  anonymous:\n    enabled: true\nauthorization:\n  mode: AlwaysAllow\nreadOnlyPort: 10255\ntlsMinVersion: VersionTLS10\n",
        &[(5, 14), (7, 9), (8, 15), (9, 16)],
        "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nauthentication: {anonymous: {enabled: false}}\nauthorization: {mode: Webhook}\nreadOnlyPort: 0\n",
    );
    add(
        "etcd-open",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: etcd}\nspec:\n  containers:\n  - command: [etcd, --client-cert-auth=false, --peer-client-cert-auth=true, --cert-file=a]\n",
        &[(6, 5), (6, 21)],
        "apiVersion: v1\nkind: Pod\nmetadata: {name: etcd}\nspec:\n  containers:\n  - command: [etcd, --client-cert-auth, --peer-client-cert-auth=true, --cert-file=a, --key-file=b]\n",
    );
}
