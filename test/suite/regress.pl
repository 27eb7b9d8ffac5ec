# regress.pl - pg_regress as TAP: one check for each file of test/sql.
use strict;
use warnings FATAL => 'all';
use lib 'test/suite';
use PgRegress;

# Delivery is off: what SQL shows must not depend on when a worker looks.
run_pg_regress('regress/pg_regress', 'test/sql/*.sql', '--inputdir=test');
