-- Last: when this commits, the launcher looks which databases have the extension, and starts a dispatcher here.
SELECT webhook_outbox.request_wakeup('extension');
