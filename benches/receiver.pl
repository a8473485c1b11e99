#!/usr/bin/env perl
# A receiver of webhooks for `make flood`: answers 200 to each POST and writes the `Idempotency-Key`s, in order.
# usage: receiver.pl PORT FILE
use strict;
use warnings;
use IO::Socket::INET;

my ($port, $path) = @ARGV;
open my $keys, '>>', $path or die "$path: $!\n";
$keys->autoflush(1);
my $listener = IO::Socket::INET->new(
    LocalAddr => '127.0.0.1', LocalPort => $port, Listen => 16, ReuseAddr => 1,
) or die "port $port: $!\n";
while (1) {
    my $peer = $listener->accept or next;
    # Requests of one connection follow each other.
    while (defined(my $line = <$peer>)) {
        my ($length, $key) = (0, '');
        while (defined($line = <$peer>) && $line !~ /^\r?\n$/) {
            $length = $1 if $line =~ /^content-length:\s*(\d+)/i;
            $key = $1 if $line =~ /^idempotency-key:\s*(\S+)/i;
        }
        read $peer, my ($body), $length;
        print $keys "$key\n";
        print $peer "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    }
}
