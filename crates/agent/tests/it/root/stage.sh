# Makes a root of its own over the machine's files, and then does what it is told.
# usage: stage.sh ACTOR FOLDER, in namespaces of its own
#
# The root is an overlay: everything of the machine is there, what is written stays here.
# Programs of the test lie in /opt/eg, which is part of the "image": not in the upper layer
# of the overlay, and no place for temporary files. Scripts come on standard input, each ended by a NUL; the answer
# is the exit status on a line.
set -eu
umask 022
actor=$1 folder=$2
mount -t tmpfs tmpfs "$folder"
mkdir "$folder/upper" "$folder/work" "$folder/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" "$folder/root"
cd "$folder/root"
mount -t proc proc proc
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/shm
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mkdir dev/pts
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mknod -m 666 dev/null c 1 3
mknod -m 666 dev/zero c 1 5
mknod -m 666 dev/random c 1 8
mknod -m 666 dev/urandom c 1 9
ln -s /proc/self/fd dev/fd
ln -s /proc/self/fd/0 dev/stdin
ln -s /proc/self/fd/1 dev/stdout
ln -s /proc/self/fd/2 dev/stderr
# Network addresses of others that nothing leaves this machine for.
for address in 203.0.113.10 169.254.169.254 198.51.100.7; do
    n=$((${n:-0} + 1))
    DO="address lo:$n $address" "$actor"
done
DO="address lo 127.0.0.1" "$actor"
mkdir -p opt/eg opt/data mnt old-root
mount -t tmpfs -o mode=755 tmpfs opt/eg
cp "$actor" opt/eg/act
cat >opt/eg/init <<'INIT'
# as NAME SCRIPT [ARGUMENT…]: the actor under a name.
as() {
    local name=$1 script=$2
    shift 2
    [ -e "/opt/eg/$name" ] || ln /opt/eg/act "/opt/eg/$name"
    DO=$script "/opt/eg/$name" "$@"
}
act() { as act "$@"; }
# low SCRIPT: the actor as a user without capabilities.
low() { DO=$1 setpriv --reuid 1 --regid 1 --clear-groups /opt/eg/act; }
while IFS= read -r -d "" script; do
    status=0
    (exec </dev/null >/dev/null; eval "$script") || status=$?
    echo "$status"
done
INIT
pivot_root . old-root
cd /
umount -l /old-root
rmdir /old-root
exec 2>/stage.log
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
    bash /opt/eg/init
