# lint.pl - the rules that the code keeps, each a check (docs/design.md).
#
# The walls between the layers are listed in %wall below and nowhere else. Tools
# come from Debian's packages: cppcheck, shellcheck, codespell, pg_bsd_indent
# and ctags. Runs in the top folder and reads files only.

use strict;
use warnings FATAL => 'all';

use File::Basename qw(basename);
use File::Find;
use File::Temp;
use Test::More;

# What may be written only in some files of src (names without .c and .h).
my %wall = (
	'SPI is used by the store alone' => {
		pattern => qr/\bSPI_\w+|executor\/spi\.h/,
		files => 'guard|txn|reader|router|ledger|ring|keep|rollup|series|operation|command|backlog|columns' },
	'libcurl is used by http and url alone' =>
	  { pattern => qr/\bcurl\/|\bcurl_\w+\s*\(/, files => 'http|http_\w+|url' },
	'processes alone wait' => {
		pattern => qr/\bWaitEventSet|\bWaitLatch/,
		files => 'launcher|dispatcher|sender|compat' },
	'compat.h alone knows versions of PostgreSQL' =>
	  { pattern => qr/\bPG_VERSION_NUM\b/, files => 'compat' },
	'settings.c alone defines settings' =>
	  { pattern => qr/\bDefineCustom\w+Variable/, files => 'settings|fault' },
	'fault.h alone knows whether there are fault points' =>
	  { pattern => qr/\bWO_FAULT_POINTS\b/, files => 'fault' });

my $max_function = 80;
my $max_file = 600;
my $max_columns = 79;

my (@c_files, @sql_files, @perl_files, @shell_files, @text_files);

find(
	{   no_chdir => 1,
		wanted => sub {
			return if !-f || m{^\./(?:\.git|tmp_check|results)/};
			my $f = s{^\./}{}r;
			push @c_files, $f if $f =~ /\.[ch]$/;
			push @sql_files, $f if $f =~ m{^(?:sql|test)/.*\.sql$};
			push @perl_files, $f if $f =~ /\.p[lm]$/;
			push @shell_files, $f
			  if $f =~ /\.sh$/ || ($f =~ m{^(?:\.ci|test)/[^.]*$} && is_shell($f));
			push @text_files, $f
			  if $f =~ /\.(?:[ch]|sql|pl|pm|sh|md|spec|json|control)$/
			  && $f !~ m{^sql/webhook_outbox--[^-]*\.sql$};
		} },
	'.');
@$_ = sort @$_
  for \@c_files, \@sql_files, \@perl_files, \@shell_files, \@text_files;
my @src = grep { m{^src/} } @c_files;
chomp(my $server_include = `pg_config --includedir-server`);

sub is_shell
{
	my ($file) = @_;

	open my $fh, '<', $file or return 0;
	return (<$fh> // '') =~ /^#!.*sh\b/;
}

sub slurp
{
	my ($file) = @_;

	open my $fh, '<', $file or die "$file: $!";
	local $/;
	return <$fh> // '';
}

# The text with comments, strings and characters blanked, lines kept.
sub code_only
{
	my ($text) = @_;

	$text =~ s{(/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])+')}
		{ my $t = $1; my $keep = substr($t, 0, 1) eq '"' && $t =~ /\.h"$/;
		  $keep ? $t : $t =~ s/[^\n]/ /gr }gesx;
	return $text;
}

# A check that passes when there is nothing to complain about.
sub none
{
	my ($claim, @complaints) = @_;
	my $n = @complaints;

	ok($n == 0, $claim);
	splice @complaints, 200, $n, '...' if $n > 200;
	diag("  $_") for @complaints;
	return;
}

sub output_of
{
	my ($command) = @_;
	my $out = `$command 2>&1`;

	return $? ? ($out eq '' ? "$command: exit code $?" : split /\n/, $out) : ();
}

# ---- the walls

for my $claim (sort keys %wall)
{
	my ($pattern, $files) = @{ $wall{$claim} }{qw(pattern files)};
	my @found;

	for my $file (grep { basename($_) !~ /^(?:$files)\.[ch]$/ } @src)
	{
		my $n = 0;
		for (split /\n/, code_only(slurp($file)))
		{
			$n++;
			push @found, "$file:$n: $&" if /$pattern/;
		}
	}
	none($claim, @found);
}

# What the preprocessor leaves of the fault points, with and without the flag.
sub fault_points
{
	my ($flags) = @_;

	return map {
		my $file = $_;
		map { "$file: $_" } `cc -E -P $flags -DPGDLLEXPORT= -DWO_VERSION=\\"lint\\" -Isrc -I$server_include $file`
		  =~ /(wo_fault_\w+|webhook_outbox\.fault\w*)/g
	} grep { /\.c$/ && slurp($_) =~ /\bWO_FAULT|\bwo_fault/ } @src;
}

none('a build without the flag has no fault points', fault_points(''));
cmp_ok(scalar(() = fault_points('-DWO_FAULT_POINTS')), '>', 20,
	'one with the flag has them');

# ---- shape of the C code

sub functions
{
	my ($file) = @_;
	my ($n, $start, $name, @found) = (0);

	# PostgreSQL's style: a function's braces stand in the first column
	my @lines = split /\n/, slurp($file);
	for (@lines)
	{
		$n++;
		if (/^\{/ && $n > 1 && $lines[ $n - 2 ] !~ /[=;]\s*$|^(?:typedef|static const|struct|enum|union)\b(?!.*\))/)
		{
			$start = $n;
			my $back = $n - 2;
			$back-- while $back > 0 && $lines[$back] !~ /^\w+\s*\(/;
			($name) = $lines[$back] =~ /^(\w+)/;
		}
		elsif (/^\}/ && $start)
		{
			push @found, [ $name // '?', $n - $start - 1, $start ];
			$start = 0;
		}
	}
	return @found;
}

my (@long, @lengths);
for my $file (@src)
{
	for my $f (functions($file))
	{
		push @lengths, $f->[1];
		push @long, "$file:$f->[2]: $f->[0] has $f->[1] lines"
		  if $f->[1] > $max_function;
	}
}
@lengths = sort { $a <=> $b } @lengths;
note(sprintf '%d functions, median %d lines, 90 %% at most %d, longest %d',
	scalar @lengths, $lengths[ @lengths / 2 ], $lengths[ @lengths * 0.9 ],
	$lengths[-1]) if @lengths;
none("no function is longer than $max_function lines", @long);
none("half of the functions have at most 20 lines",
	@lengths && $lengths[ @lengths / 2 ] > 20
	? "median is $lengths[@lengths / 2]"
	: ());
none(
	"no file of src is longer than $max_file lines",
	grep { $_ } map {
		my $n = () = slurp($_) =~ /\n/g;
		$n > $max_file ? "$_ has $n lines" : ()
	} @src);

sub columns
{
	my ($line) = @_;

	1 while $line =~ s/^([^\t]*)\t/$1 . ' ' x (4 - length($1) % 4)/e;
	return length $line;
}

my (@wide, @blanks, @headerless);
for my $file (@src)
{
	my ($n, $text) = (0, slurp($file));
	my $name = basename($file);

	push @headerless, $file
	  if $text !~ m{\A/\*-+\n \*\n \* \Q$name\E\n \*\t  \S};
	for (split /\n/, $text)
	{
		$n++;
		# message strings stay whole, so that they can be searched for
		push @wide, "$file:$n" if columns($_) > $max_columns && !/"[^"]*"/;
		push @blanks, "$file:$n" if /[ \t]$|^ {4}| \t|^\t* {4,}\S(?!.*\*\/)/
		  && !/^\t* \*|"/;
	}
}
none("no line of C is wider than $max_columns columns, but for strings",
	@wide);
none('C is indented by tabs and has no blanks at the end of lines', @blanks);
none('each C file opens with its name and what it is', @headerless);

# What a function's text says must not hang on standard_conforming_strings of
# whoever calls it: a backslash stands in E'' or nowhere.  Dollar signs without
# a name are passed over, for what they enclose is code.
sub plain_strings
{
	my ($text) = @_;
	my @found;

	my $escaped = qr/(?:[^'\\]|\\.|'')*/s;

	while ($text =~ m{--[^\n]*|\$(\w+)\$.*?\$\g1\$|"[^"]*"
		|\b[Ee]'$escaped'(?:\s*\n\s*'$escaped')*|('(?:[^']|'')*')}gsx)
	{
		push @found, $2 if defined $2;
	}
	return @found;
}
none(
	'no plain string of an SQL function has a backslash',
	map {
		my $file = $_;
		map { "$file: $_" } grep { /\\/ } plain_strings(slurp($file))
	} grep { m{^sql/} && $_ ne 'sql/webhook_outbox/00_header.sql' } @sql_files);
none(
	'the SQL is in ASCII: it is loaded into databases of whatever encoding',
	grep { m{^sql/} && slurp($_) =~ /[^\0-\x7f]/ } @sql_files);

# ---- the documents

# A table's rows name files as `name.c`.
my ($layers) = slurp('docs/design.md') =~ /^## Files\n(.*?)^## /ms;
my %is_named = map { $_ => 1 } ($layers // '') =~ /`(\w+\.[ch])`/g;
none('docs/design.md names each C file of src in its table of layers',
	grep { /\.c$/ && !$is_named{$_} } map { basename($_) } @src);
none('and no file that is not there',
	grep { !-f "src/$_" } sort keys %is_named);

my $words = join '|', map { join '', @$_ }[qw(TO DO)], [qw(FIX ME)],
  [qw(X XX)], [qw(HA CK)];
none(
	'no mark says that something is left to do',
	map {
		my $file = $_;
		map { "$file: $_" } slurp($file) =~ /\b((?:$words)\b.*)/g
	} @text_files);
# What a loop waits between two looks has a name. How receivers behave is their
# own affair, and make bench paces itself.
my $guess = qr/\b(?:u|nano|pg_)?sleep\s*\(?\s*\.?[0-9][\w.]*\s*(?:[);]|$)
	|\bselect\b\s*\(?(?:\s*undef\s*,){3}\s*[.0-9]/mx;
none(
	'no test sleeps for a guess',
	map {
		my $file = $_;
		map { "$file: $_" } grep { !/^\s*(?:#|--)/ && /$guess/ }
		  split /\n/, slurp($file)
	  } grep { m{^test/(?!bench/|t/(?:hostile|receiver|dns|proxy|resolver)\.pl$)} }
	  grep { /\.(?:p[lm]|sh|sql|spec)$/ } @text_files);

my %numbered;
for my $file (@perl_files)
{
	push @{ $numbered{$1} }, $file if $file =~ m{^test/t/(\d+)_};
}
none('each TAP test has a number of its own',
	map { "@$_" } grep { @$_ > 1 } @numbered{ sort keys %numbered });

# ---- tools

my $tmp = File::Temp->newdir;

sub has_tool
{
	my ($tool) = @_;

	return grep { -x "$_/$tool" } split /:/, $ENV{PATH};
}

# One check by a tool; skipped where there is nothing for it to read.
sub tool
{
	my ($claim, $tool, $files, $code) = @_;

	if (!has_tool($tool))
	{
		fail("$claim ($tool is missing)");
		return;
	}
  SKIP:
	{
		skip "nothing for $tool to read", 1 if !@$files;
		none($claim, $code->(join ' ', @$files));
	}
	return;
}

# Names of types, which pg_bsd_indent has to be told.
sub write_typedefs
{
	my ($file) = @_;
	my $command = "ctags -f - --languages=C --langmap=C:.c.h --kinds-C=t "
	  . "-R $server_include src /usr/include/curl /usr/include/*/curl 2>/dev/null "
	  . "| cut -f1 | grep -v '^!' | sort -u";
	# typedefs whose names serve as variables more often
	my %is_excluded = map { $_ => 1 } qw(ANY FD_SET U abs allocfunc boolean date
	  digit ilist interval iterator other pointer printfunc reference string
	  text timestamp type wrap);
	my $names = join '', grep { !$is_excluded{ s/\n//r } } `$command`;
	# the system's, which the headers above use
	$names .= join "\n", qw(bool size_t ssize_t time_t pid_t FILE int8_t int16_t
	  int32_t int64_t uint8_t uint16_t uint32_t uint64_t socklen_t sigset_t
	  CURL CURLM CURLSH SSL SSL_CTX EVP_PKEY EVP_CIPHER_CTX EVP_MD_CTX EVP_MAC EVP_MAC_CTX va_list
	  sockaddr in_addr in6_addr), '';
	open my $fh, '>', $file or die "$file: $!";
	print $fh $names;
	close $fh;
	return;
}

tool(
	'pg_bsd_indent would change nothing in src',
	'pg_bsd_indent',
	\@src,
	sub {
		my @found;
		write_typedefs("$tmp/typedefs");
		for my $file (@src)
		{
			my $want = `pg_bsd_indent -bad -bap -bbb -bc -bl -cli1 -cp33 -cdb -nce -d0 -di12 -nfc1 -i4 -l79 -lp -lpl -nip -npro -sac -tpg -ts4 -U$tmp/typedefs <$file 2>$tmp/err`;
			# what PostgreSQL's own wrapper does after it
			$want =~ s{\*/(/\*.*\*/)$}{*/\t$1}gm;
			$want =~ s{^([A-Za-z_]\S*)[ \t]+\*$}{$1 *}gm;
			open my $fh, '>', "$tmp/want" or die;
			print $fh $want;
			close $fh;
			my @diff = `diff -u --label $file --label indented $file $tmp/want`;
			push @found, map { chomp; $_ } @diff;
		}
		return @found;
	});
tool('cppcheck finds nothing', 'cppcheck', \@src,
	sub {
		return output_of(
			"cppcheck --quiet --std=c99 --language=c --error-exitcode=1 "
			  . "--enable=warning,portability,performance --inline-suppr "
			  . "--suppress=missingInclude --suppress=uninitvar "
			  . "-DPGDLLEXPORT= -DPG_VERSION_NUM=150000 -DPG_MODULE_MAGIC= "
			  . join ' ', grep { /\.c$/ } @src);
	});
tool('shellcheck finds nothing', 'shellcheck', \@shell_files,
	sub { output_of("shellcheck -x $_[0]") });
tool('codespell finds nothing', 'codespell', \@text_files,
	sub { output_of("codespell -q 2 -L inout,isnt,te $_[0]") });
none('perl compiles every script without a warning',
	map {
		my $inc = "-Itest/t -Itest/suite -Itest/bench -Itest/fault -Itest/fuzz -I"
		  . `pg_config --pkglibdir` =~ s/\n//r . "/pgxs/src/test/perl";
		my @out = output_of("perl $inc -wc $_");
		@out
	} @perl_files);
none('META.json is JSON', output_of('perl -MJSON::PP -0777 -ne "decode_json(\$_)" META.json'));

done_testing();
