# isolation.pl - pg_isolation_regress as TAP: one check for each spec.
use strict;
use warnings FATAL => 'all';
use lib 'test/suite';
use PgRegress;

run_pg_regress('isolation/pg_isolation_regress', 'test/specs/*.spec',
	'--inputdir=test', '--outputdir=.');
