# Memcheck.pm - read what valgrind's memcheck wrote of a process.

package Memcheck;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';

our @EXPORT = qw(memcheck_errors memcheck_held);

# Its errors: paragraphs with a stack, but for those that say who had allocated
# what nothing points to any more: a server leaves most to the end of the process.
sub memcheck_errors
{
	my ($text) = @_;

	$text =~ s/^==\d+== ?//mg;
	return grep { /^\s+(?:at|by) 0x/m && !/ lost in loss record / }
	  split /\n{2,}/, $text;
}

# How many bytes the process held at its end, and of how many that it had by
# malloc nothing told the place any more. Blocks of the server's memory contexts
# are not among these: valgrind follows no pointers between them.
sub memcheck_held
{
	my ($text) = @_;
	my ($held) = $text =~ /in use at exit: ([\d,]+) bytes/;
	my $lost = 0;

	$text =~ s/^==\d+== ?//mg;
	for my $record (split /\n{2,}/, $text)
	{
		next if $record !~ /^([\d,]+)(?: \(.*\))? bytes in .* definitely lost in /;
		my $bytes = $1 =~ tr/,//dr;

		$lost += $bytes
		  if $record =~ /^\s+at 0x\w+: (?:\w*alloc|memalign|strdup) \(.*vg/m
		  && $record !~ /: (?:AllocSet|Generation|Slab)\w+ \(/;
	}
	return ($held =~ tr/,//dr, $lost);
}

1;
