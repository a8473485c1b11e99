#!/usr/bin/perl
# Tracks a parcel. Vulnerable on purpose: the number reaches a shell unquoted (CWE-78).
use strict;
use warnings;

my ($parcel) = ($ENV{QUERY_STRING} // '') =~ /parcel=([^&]*)/;
$parcel //= '';
$parcel =~ s/\+/ /g;
$parcel =~ s/%([0-9A-Fa-f]{2})/chr hex $1/ge;

print "Content-Type: text/plain\r\n\r\n";
print qx(echo Parcel $parcel is on its way 2>&1);
