# PgRegress.pm - run pg_regress or pg_isolation_regress on a server of its own
# and say the result of each of its tests as TAP, which before PostgreSQL 16 it
# does not speak. So prove counts and sums up every test of the project.

package PgRegress;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use File::Basename qw(basename dirname);
use PostgreSQL::Test::Utils;
use Test::More;
use WebhookOutbox;

our @EXPORT = qw(run_pg_regress);

sub run_pg_regress
{
	my ($program, $files, @options) = @_;
	my @tests = map { basename($_) =~ s/\.\w+$//r } sort glob $files;

	plan skip_all => "there is no $files" if !@tests;
	@tests = grep { my $name = $_; grep { $_ eq $name } split ' ', $ENV{REGRESS_TESTS} } @tests
	  if $ENV{REGRESS_TESTS};
	plan skip_all => "none of $files is meant by REGRESS_TESTS=$ENV{REGRESS_TESTS}" if !@tests;
	my $node = start_node(extension => 0,
		conf => "webhook_outbox.enabled = off\nwebhook_outbox.maintenance = off\n"
		  . "webhook_outbox.allowed_networks = ''\n");
	my $tools = dirname($ENV{PG_REGRESS}) . '/..';
	my @command = ("$tools/$program", @options, '--bindir=',
		'--host=' . $node->host, '--port=' . $node->port,
		'--dbname=contrib_regression', @tests);
	my ($out, $err) = ('', '');

	IPC::Run::run(\@command, '>', \$out, '2>', \$err);
	note($out);
	report($out . $err, @tests);
	return finish($node);
}

# A line is "test NAME ... ok 12 ms" before PostgreSQL 16, TAP from then on.
sub report
{
	my ($out, @tests) = @_;
	my $n_failed = 0;

	for my $test (@tests)
	{
		my $is_ok = $out =~ /^(?:test )?\Q$test\E\s+\.\.\. ok\b/m
		  || $out =~ /^ok \d+\s+[-+] \Q$test\E\s/m;
		$n_failed++ if !ok($is_ok, "$test gives the expected output");
	}
	return if !$n_failed;
	diag($out) if $out !~ /differences/ || !-e 'regression.diffs';
	if (-e 'regression.diffs')
	{
		my @lines = split /\n/, slurp_file('regression.diffs');
		splice @lines, 300 if @lines > 300;
		diag($_) for @lines;
	}
	return;
}

1;
