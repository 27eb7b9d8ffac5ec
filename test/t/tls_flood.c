/*
 * tls_flood.c
 *	  A receiver that has more to say about TLS than about the request.
 *
 *	tls_flood CERT KEY KIND...
 *
 * Listens on a port of its own for each KIND, prints "listening on PORT..." in
 * their order, and ends when its standard input does.  After a request KIND
 * sends
 *	  key_updates	new keys, and no end of them (TLS 1.3)
 *	  tickets		tickets for later sessions, likewise
 *	  some_tickets	some of them, and then an answer
 *	  handshakes	wishes for a new handshake (TLS 1.2)
 *	  own_group		an answer, to who computes with numbers that it chooses, as
 *					long as it likes (finite field Diffie-Hellman, TLS 1.2)
 *	  long_group	an answer, to who computes with the longest of the groups
 *					that TLS 1.3 has
 * hostile.pl cannot: what Perl knows of OpenSSL has no functions for it.
 */
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LIFE_S		300			/* no connection lives longer */
#define MAX_KINDS	16
#define SOME		1000

static SSL_CTX *context;

static void
check(bool is_well, const char *what)
{
	if (is_well)
		return;
	perror(what);
	exit(1);
}

/* Sends one message that is no data; false when nobody wants it. */
static bool
send_message(SSL *ssl, const char *kind)
{
	int			rc;

	if (strcmp(kind, "key_updates") == 0)
		rc = SSL_key_update(ssl, SSL_KEY_UPDATE_NOT_REQUESTED);
	else if (strcmp(kind, "handshakes") == 0)
		rc = SSL_renegotiate(ssl);
	else
		rc = SSL_new_session_ticket(ssl);
	return rc == 1 && SSL_do_handshake(ssl) == 1;
}

static bool
is_one_of(const char *kind, const char *a, const char *b)
{
	return strcmp(kind, a) == 0 || strcmp(kind, b) == 0;
}

static void
answer(SSL *ssl, const char *kind)
{
	static const char fine[] = "HTTP/1.1 200 OK\r\n"
		"Connection: close\r\nContent-Length: 4\r\n\r\nfine";
	bool		is_brief = is_one_of(kind, "own_group", "long_group");
	bool		is_endless = !is_brief && strcmp(kind, "some_tickets") != 0;

	for (int i = 0; !is_brief && (is_endless || i < SOME); i++)
	{
		if (!send_message(ssl, kind))
			return;
	}
	SSL_write(ssl, fine, sizeof(fine) - 1);
	SSL_shutdown(ssl);
}

static void
serve(int fd, const char *kind)
{
	SSL		   *ssl = SSL_new(context);
	char		request[65536];

	alarm(LIFE_S);
	if (is_one_of(kind, "handshakes", "own_group"))
		SSL_set_max_proto_version(ssl, TLS1_2_VERSION);
	if (strcmp(kind, "own_group") == 0)
		check(SSL_set_cipher_list(ssl, "kDHE") &&
			  SSL_set_dh_auto(ssl, 1), kind);
	if (strcmp(kind, "long_group") == 0)
		check(SSL_set1_groups_list(ssl, "ffdhe8192"), kind);
	SSL_set_fd(ssl, fd);
	/* the request is short, and came in one piece */
	if (SSL_accept(ssl) == 1 && SSL_read(ssl, request, sizeof(request)) > 0)
		answer(ssl, kind);
	exit(0);
}

static int
listen_for(const char *kind)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
	.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t	len = sizeof(address);
	int			fd = socket(AF_INET, SOCK_STREAM, 0);

	check(fd >= 0, "socket");
	check(bind(fd, (struct sockaddr *) &address, len) == 0, "bind");
	check(listen(fd, 64) == 0, "listen");
	check(getsockname(fd, (struct sockaddr *) &address, &len) == 0, "port");
	printf("%s%d", kind, ntohs(address.sin_port));
	return fd;
}

int
main(int argc, char **argv)
{
	struct pollfd watched[MAX_KINDS + 1] = {{.fd = 0,.events = POLLIN}};
	int			n_kinds = argc - 3;

	check(n_kinds > 0 && n_kinds <= MAX_KINDS, "tls_flood CERT KEY KIND...");
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_IGN);
	context = SSL_CTX_new(TLS_server_method());
	check(context != NULL &&
		  SSL_CTX_use_certificate_file(context, argv[1], SSL_FILETYPE_PEM) &&
		  SSL_CTX_use_PrivateKey_file(context, argv[2], SSL_FILETYPE_PEM),
		  "certificate");
	for (int i = 1; i <= n_kinds; i++)
	{
		watched[i].fd = listen_for(i == 1 ? "listening on " : " ");
		watched[i].events = POLLIN;
	}
	printf("\n");
	fflush(stdout);

	while (watched[0].revents == 0)
	{
		check(poll(watched, n_kinds + 1, -1) > 0, "poll");
		for (int i = 1; i <= n_kinds; i++)
		{
			int			fd = watched[i].revents != 0 ?
				accept(watched[i].fd, NULL, NULL) : -1;

			if (fd >= 0 && fork() == 0)
				serve(fd, argv[i + 2]);
			if (fd >= 0)
				close(fd);
		}
	}
	return 0;
}
