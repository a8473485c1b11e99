#!/usr/bin/perl
# Writes N variants of rule files, for measuring what many rules cost.
# usage: multiply-rules.pl same|varied N FOLDER FILE…
#
# Every rule gets another name in each variant. With `same` the conditions stay, so that all
# predicates are shared; with `varied` macros and lists are renamed and every path in them
# is another one, so that nearly none are.
use strict;
use warnings;

my ($kind, $n, $folder, @files) = @ARGV;
die "usage: multiply-rules.pl same|varied N FOLDER FILE…\n"
    unless @files && $kind =~ /^(same|varied)$/ && $n =~ /^\d+$/;

my %texts;
my %names;
for my $file (@files) {
    open(my $in, '<', $file) or die "open $file: $!\n";
    local $/;
    $texts{$file} = <$in>;
    $names{$_} = 1 for $texts{$file} =~ /^- (?:macro|list): (\S+)/mg;
}
# Names that conditions also use for event types keep their one definition.
delete @names{qw(dup link modify remove rename mkdir chmod)};

for my $k (0 .. $n - 1) {
    for my $file (@files) {
        my $text = $texts{$file};
        if ($k > 0) {
            $text =~ s/^- rule: "?([^"\n]*?)"?\s*$/- rule: $1 v$k/mg;
            if ($kind eq 'varied') {
                $text =~ s/\b([A-Za-z_]\w*)\b(?![-.\/])/$names{$1} ? "$1_v$k" : $1/ge;
                $text =~ s#(/(?:etc|usr|var|bin|sbin|root|dev|proc|tmp|lib|home|boot)[\w/.-]*)#${1}v$k#g;
            }
        }
        (my $base = $file) =~ s#.*/##;
        open(my $out, '>', sprintf('%s/%03d-%s', $folder, $k, $base)) or die "write: $!\n";
        print $out $text;
    }
}
