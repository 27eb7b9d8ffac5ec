# majors.pl - what check.sh said on other servers (test/lib/majors.sh has run it,
# for which it takes root; this does not): one subtest for each server, with one
# check for each file of tests that ran there.
#
# Arguments: none.  WO_MAJORS lists the servers.

use strict;
use warnings FATAL => 'all';
use lib 'test/suite';

use Memcheck;
use PostgreSQL::Test::Utils;
use Test::More;

my $folder = "$ENV{TESTDIR}/tmp_check/majors";

for my $server (split ' ', $ENV{WO_MAJORS})
{
	my $said = "$folder/$server";

	subtest "PostgreSQL $server" => sub {
		plan skip_all => slurp_file("$said.skip") =~ s/\s+\z//r
		  if -e "$said.skip";
		judge(slurp_file("$said.log"));
		is(join('', map { slurp_file($_) } glob "$said.finding.*"),
			'', 'no sanitizer found anything');
		judge_memory(glob "$said.memcheck.*") if $server =~ /v$/;
	};
}
done_testing();

# prove says a line for each file: "test/t/001_x.pl .. ok", or "skipped: why".
sub judge
{
	my ($log) = @_;
	my %result = $log =~ m{^(test/\S+\.pl) \.+ ?(.*)$}mg;

	for my $file (sort keys %result)
	{
		if (my ($reason) = $result{$file} =~ /^skipped: (.*)/)
		{
			note("$file: skipped: $reason");
			next;
		}
		is($result{$file} =~ s/\s+$//r, 'ok', $file);
	}
	if (!ok($log =~ /^exit code 0\n\z/m && %result, 'check.sh is content'))
	{
		my @lines = split /\n/, $log;
		splice @lines, 0, @lines - 400, '...' if @lines > 400;
		diag($_) for @lines;
	}
	return;
}

# What valgrind wrote of each process of the servers.
sub judge_memory
{
	my @files = @_;
	my %n_found;

	cmp_ok(scalar @files, '>', 5, 'valgrind watched the servers');
	my $sample = slurp_file('test/suite/valgrind.sample');
	is(scalar(() = memcheck_errors($sample)), 2, 'errors are told from leaks');
	is_deeply([ memcheck_held($sample) ], [ 3024, 24 + 1040 ],
		'and leaks from blocks of the server');
	for my $error (map { memcheck_errors(slurp_file($_)) } @files)
	{
		$n_found{ $error =~ s/0x[0-9A-F]+/0x/gr }++;
	}
	is( join("\n\n", map { "$n_found{$_} times:\n$_" } sort keys %n_found),
		'', 'valgrind found nothing');
	return;
}
