# A retry is never earlier than the receiver's Retry-After asks for.
# Plain SQL cannot show it: the header comes from a receiver.
use strict;
use warnings FATAL => 'all';
use POSIX qw(strftime);
use Test::More;
use WebhookOutbox;

my $receiver = start_receiver();
my $node = start_node();
my @option = (retry_schedule => "'{1s,1s}'", retry_jitter => 0);
# seconds that next_attempt_at should be after the end of the attempt
my %wait = (
	seconds => [ '/retry-after/3600/status/429', 3600 ],
	sooner => [ '/retry-after/0/status/503', 1 ],
	nonsense => [ '/retry-after/soon/status/503', 1 ],
	negative => [ '/retry-after/-5/status/503', 1 ],
	too_long => [ '/retry-after/999999999/status/503', 86400 ],
	map { $_ => [ "/$_", 7200 ] } qw(date date_rfc850 date_asctime));
# the three forms that a date may have (RFC 9110, 5.6.7)
my %form = (
	date => '%a, %d %b %Y %H:%M:%S GMT',
	date_rfc850 => '%A, %d-%b-%y %H:%M:%S GMT',
	date_asctime => '%a %b %e %H:%M:%S %Y');

for my $name (sort keys %form)
{
	my $date = strftime($form{$name}, gmtime(time + 7200));
	$receiver->script("/$name",
		{ status => 503, headers => { 'Retry-After' => $date } });
}
create_endpoint($node, $receiver, $_, $wait{$_}[0], @option)
  for sort keys %wait;
publish($node, 'order.created');
wait_for_sql($node,
	'SELECT count(DISTINCT endpoint_id) = 8 FROM webhook_outbox.attempt',
	'each endpoint got its first attempt');

for my $name (sort keys %wait)
{
	my $seconds = $wait{$name}[1];
	# a date has whole seconds
	my $low = $form{$name} ? $seconds - 5 : $seconds;
	is( sql_value(
			$node, qq(
			SELECT extract(epoch FROM next_attempt_at - started_at)
			  BETWEEN $low AND $seconds + 30
			FROM webhook_outbox.attempt JOIN webhook_outbox.endpoint
			USING (endpoint_id) WHERE name = '$name' AND number = 1)),
		't', "$name: the retry is $seconds s later");
}

finish($node, $receiver);
