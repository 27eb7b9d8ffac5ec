# Fuzz.pm - build and run the fuzz targets: every test/fuzz/fuzz_*.c is one.
#
# The sources of src are compiled as they are, with clang's address, undefined
# behaviour and leak sanitizers, and linked with shim.c in the place of the
# server. Inputs to start from are in seeds/TARGET.txt: one a line, with \n,
# \t, \r, \\ and \xNN as in C; lines that begin with "# " say what the next ones are.

package Fuzz;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use File::Basename qw(basename dirname);
use File::Path qw(make_path remove_tree);
use Time::HiRes qw(time);

our @EXPORT = qw(fuzz_can_build fuzz_targets fuzz_build fuzz_run fuzz_replay
  fuzz_report);

my $here = dirname(__FILE__);

# Parts of the product that need no server. A target links what it calls.
my @product = qw(backoff base64 channel check headers histogram http
  http_lookup http_poll http_result http_share http_transfer netguard outcome
  request retry_after seal signature snapshot text url uuidv7);
my @support = qw(jsonb lines queue shim);

my $sanitizers = "address,undefined";
my @flags = ("-fsanitize=$sanitizers", qw(-g -O1 -fno-omit-frame-pointer -std=gnu11
  -fno-sanitize-recover=all -DUSE_ASSERT_CHECKING
  -DWO_VERSION="fuzz" -DPGDLLEXPORT= -D_GNU_SOURCE -Wall -Wextra -Werror
  -Wno-unused-parameter -Wno-sign-compare
  -Wno-ignored-attributes));

# At most so much memory and time for one input.
my $max_rss_mb = 1024;
my $max_input_s = 10;
my $max_len = 2048;

sub config
{
	my ($what) = @_;
	my $config = $ENV{PG_CONFIG} // 'pg_config';
	chomp(my $value = `$config --$what`);

	die "$config --$what failed\n" if $? || $value eq '';
	return $value;
}

# Runs a command; returns its output and exit code.
sub output_of
{
	my (@command) = @_;
	my $pid = open my $pipe, '-|';
	my $output;

	die "fork: $!" if !defined $pid;
	if (!$pid)
	{
		open STDERR, '>&', \*STDOUT or die "dup: $!";
		exec @command or die "$command[0]: $!\n";
	}
	{
		local $/;
		$output = <$pipe> // '';
	}
	close $pipe;
	return ($output, $?);
}

# Undefined when clang can build a target here, else why not.
sub fuzz_can_build
{
	my ($folder) = @_;

	make_path($folder);
	open my $out, '>', "$folder/empty.c" or die "$folder/empty.c: $!";
	print $out "int LLVMFuzzerTestOneInput(const char *p, unsigned long n)\n"
	  . "{ return 0; }\n";
	close $out;
	my ($text, $code) = eval {
		output_of('clang', "-fsanitize=fuzzer,$sanitizers", '-o',
			"$folder/empty", "$folder/empty.c");
	};
	return 'clang with libFuzzer and sanitizers is missing'
	  . ' (packages clang and libclang-rt-dev)'
	  if $@ || $code;
	return;
}

sub fuzz_targets
{
	my @targets = sort map { basename($_) =~ s/^fuzz_(.*)\.c$/$1/r }
	  glob "$here/fuzz_*.c";

	return @targets;
}

sub compile
{
	my ($folder, $source) = @_;
	my $object = "$folder/" . basename($source) =~ s/\.c$/.o/r;
	my ($text, $code) = output_of('clang', @flags,
		'-fsanitize=fuzzer-no-link', "-I$here/../../src", "-I$here",
		"-isystem" . config('includedir-server'),
		'-c', '-o', $object, $source);

	die $text . "cannot compile $source\n" if $code;
	return $object;
}

# Builds targets (all, if none is named) in a folder; dies with the compiler's
# words when one does not build.
sub fuzz_build
{
	my ($folder, @targets) = @_;

	make_path($folder);
	my $archive = "$folder/product.a";
	my @parts = map { compile($folder, $_) }
	  ((map { "$here/../../src/$_.c" } @product),
		(map { "$here/$_.c" } @support));
	my ($text, $code) = output_of('ar', 'rcs', $archive, @parts);
	die $text . "cannot make $archive\n" if $code;

	my @libraries = (config('pkglibdir'), config('libdir'));
	for my $target (@targets ? @targets : fuzz_targets())
	{
		my $object = compile($folder, "$here/fuzz_$target.c");
		($text, $code) = output_of('clang',
			"-fsanitize=fuzzer,$sanitizers", '-o', "$folder/$target",
			$object, $archive, (map { "-L$_" } @libraries),
			qw(-lpgcommon -lpgport -lcurl -lssl -lcrypto -lm));
		die $text . "cannot link $target\n" if $code;
	}
	return;
}

# Writes a target's seeds as files; returns how many there are.
sub fuzz_seeds
{
	my ($target, $folder) = @_;
	my %meaning = (n => "\n", t => "\t", r => "\r", '\\' => '\\');
	my $n = 0;

	make_path($folder);
	open my $in, '<:raw', "$here/seeds/$target.txt"
	  or die "$here/seeds/$target.txt: $!";
	while (my $line = <$in>)
	{
		chomp $line;
		next if $line =~ /^# /;
		# so that a long seed is short: \R{N}{TEXT}
		$line =~ s/(?<!\\)\\R\{(\d+)\}\{([^{}]*)\}/$2 x $1/ge;
		$line =~ s/\\(?:x([0-9a-f]{2})|([ntr\\]))/
			defined $1 ? chr hex $1 : $meaning{$2}/gex;
		open my $out, '>:raw', sprintf('%s/%03d', $folder, $n++)
		  or die "$folder: $!";
		print $out $line;
		close $out;
	}
	return $n;
}

# The environment in which targets run.
sub run_target
{
	my (@command) = @_;

	local $ENV{ASAN_OPTIONS} = 'detect_stack_use_after_return=1:'
	  . 'strict_string_checks=1:allocator_may_return_null=1';
	local $ENV{UBSAN_OPTIONS} = 'print_stacktrace=1';
	# libcurl must not find a proxy here
	delete local @ENV{ grep { /_proxy$/i } keys %ENV };
	return output_of(@command);
}

# Runs a target for so many seconds, or, if 0, with its seeds alone. Option keep
# is a folder with what was found before, which is added to; executions makes it
# try so many inputs, the same ones each time, however long it takes. Returns a hash:
# result ('ok', or what happened), output, seeds, executions, seconds, coverage
# before (of the seeds) and after, crashes (files).
sub fuzz_run
{
	my ($folder, $target, $seconds, %option) = @_;
	my $work = "$folder/run_$target";
	my $found = $option{keep} // "$work/found";
	my $dictionary = "$here/seeds/$target.dict";
	my %run = (target => $target, executions => 0, before => 0, after => 0);

	remove_tree($work);
	make_path($found, "$work/crashes");
	$run{seeds} = fuzz_seeds($target, "$work/seeds");
	my $start = time;
	my ($output, $code) = run_target("$folder/$target",
		($option{executions} ? ("-runs=$option{executions}", '-seed=1')
			: $seconds > 0 ? "-max_total_time=$seconds" : '-runs=0'),
		"-timeout=$max_input_s", "-rss_limit_mb=$max_rss_mb",
		"-max_len=$max_len", '-print_final_stats=1', '-use_value_profile=1',
		(-e $dictionary ? "-dict=$dictionary" : ()),
		"-artifact_prefix=$work/crashes/", $found, "$work/seeds");

	$run{seconds} = time - $start;
	$run{output} = $output;
	$run{executions} = $1
	  if $output =~ /^stat::number_of_executed_units:\s+(\d+)/m;
	$run{before} = $1 if $output =~ /INITED\s+cov: (\d+)/;
	$run{after} = $1 while $output =~ /^#\d+\s+\w+\s+cov: (\d+)/mg;
	$run{crashes} = [ glob "$work/crashes/*" ];
	$run{result} = $code == 0 ? 'ok' : what_happened($output, $code);
	return \%run;
}

# Runs a target once with each of the files.
sub fuzz_replay
{
	my ($folder, $target, @files) = @_;
	my ($output, $code) = run_target("$folder/$target", @files);

	return { output => $output,
		result => $code == 0 ? 'ok' : what_happened($output, $code) };
}

sub what_happened
{
	my ($output, $code) = @_;

	return "does not hold: $1" if $output =~ /does not hold: (.*)/;
	return $1 if $output =~ /runtime error: (.*)/;
	return $1 if $output =~ /ERROR: (?:\w+Sanitizer|libFuzzer): ([^\n(]+)/;
	return sprintf 'exit code %d, signal %d', $code >> 8, $code & 0x7f;
}

# What a person wants to know of a run that failed: the start of the report,
# and the inputs as they would be written in a file of seeds.
sub fuzz_report
{
	my ($run) = @_;
	my @lines = grep { !/^(?:#\d+\t|INFO:|\s+NEW_FUNC|stat::|MS:|\w+: \d+$)/ }
	  split /\n/, $run->{output};
	my $report = '';

	splice @lines, 40 if @lines > 40;
	$report .= "    $_\n" for @lines;
	for my $file (@{ $run->{crashes} })
	{
		open my $in, '<:raw', $file or next;
		local $/;
		$report .= "    seed: " . escaped(<$in> // '') . "\n";
		close $in;
	}
	return $report;
}

sub escaped
{
	my ($bytes) = @_;
	my %name = ("\n" => '\n', "\t" => '\t', "\r" => '\r', '\\' => '\\\\');

	return $bytes =~ s/([^ -~]|\\|^#)/$name{$1} \/\/ sprintf '\x%02x', ord $1/ger;
}

1;
