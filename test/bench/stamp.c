/*-------------------------------------------------------------------------
 *
 * stamp.c
 *	  The receiver of `make bench` where microseconds count.
 *
 * Answers every request with 204 and prints one line for each: the time it
 * was received (seconds since 1970, to the microsecond) and its webhook-id.
 * Lines are kept in memory and written when a second has passed without a
 * request, so that no write delays an answer, and at SIGTERM.
 *
 *	  stamp PORT FILE
 *
 * Why not nginx: its log knows milliseconds.  Why not receiver.pl: a request
 * takes it 200 microseconds.
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_FDS			4096
#define MAX_REQUEST		65536
#define QUIET_MS		1000

typedef struct Conn
{
	size_t		len;			/* bytes in data */
	char		data[MAX_REQUEST + 1];
} Conn;

static Conn *conns[MAX_FDS];
static int	epoll_fd;
static FILE *out;
static volatile sig_atomic_t is_ending = 0;

static void
fail(const char *what)
{
	perror(what);
	exit(1);
}

/* epoll_wait is interrupted, a write is not. */
static void
on_term(int signal_number)
{
	(void) signal_number;
	is_ending = 1;
}

static void
watch(int fd)
{
	struct epoll_event event = {0};

	event.events = EPOLLIN;
	event.data.fd = fd;
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
		fail("epoll_ctl");
}

static void
accept_one(int listener)
{
	int			fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
	int			on = 1;

	if (fd < 0)
		return;
	if (fd >= MAX_FDS)
	{
		close(fd);
		return;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (conns[fd] == NULL)
		conns[fd] = malloc(sizeof(Conn));
	if (conns[fd] == NULL)
		fail("malloc");
	conns[fd]->len = 0;
	watch(fd);
}

/* Returns the value of a header, or NULL; the head ends with a NUL. */
static const char *
header(const char *head, const char *name)
{
	size_t		len = strlen(name);
	const char *line = head;

	while ((line = strstr(line, "\r\n")) != NULL)
	{
		line += 2;
		if (strncasecmp(line, name, len) == 0 && line[len] == ':')
			return line + len + 1 + strspn(line + len + 1, " ");
	}
	return NULL;
}

static void
print_line(const struct timespec *now, const char *id)
{
	int			len = id ? (int) strcspn(id, "\r") : 1;

	fprintf(out, "%lld.%06ld\t%.*s\n", (long long) now->tv_sec,
			now->tv_nsec / 1000, len, id ? id : "-");
}

/* Takes one whole request off the buffer; false: it is not whole yet. */
static bool
take_request(int fd, const struct timespec *now)
{
	static const char answer[] = "HTTP/1.1 204 No Content\r\n\r\n";
	Conn	   *conn = conns[fd];
	char	   *end;
	const char *value;
	size_t		size;

	conn->data[conn->len] = '\0';
	end = strstr(conn->data, "\r\n\r\n");
	if (end == NULL)
		return false;
	end[2] = '\0';
	value = header(conn->data, "content-length");
	size = end + 4 - conn->data + (value ? strtoul(value, NULL, 10) : 0);
	if (conn->len < size)
	{
		end[2] = '\r';
		return false;
	}
	if (write(fd, answer, sizeof(answer) - 1) < 0)
		return false;
	print_line(now, header(conn->data, "webhook-id"));
	conn->len -= size;
	memmove(conn->data, conn->data + size, conn->len);
	return true;
}

static void
read_some(int fd)
{
	Conn	   *conn = conns[fd];
	struct timespec now;
	ssize_t		n = read(fd, conn->data + conn->len, MAX_REQUEST - conn->len);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0)
	{
		close(fd);
		return;
	}
	clock_gettime(CLOCK_REALTIME, &now);
	conn->len += n;
	while (take_request(fd, &now))
		;
}

static int
listen_on(int port)
{
	int			fd = socket(AF_INET, SOCK_STREAM, 0);
	int			on = 1;
	struct sockaddr_in address = {0};

	address.sin_family = AF_INET;
	address.sin_port = htons(port);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *) &address, sizeof(address)) != 0 ||
		listen(fd, 1024) != 0)
		fail("listen");
	return fd;
}

int
main(int argc, char **argv)
{
	struct epoll_event events[64];
	int			listener;

	if (argc != 3)
	{
		fprintf(stderr, "usage: stamp PORT FILE\n");
		return 1;
	}
	out = fopen(argv[2], "w");
	if (out == NULL)
		fail(argv[2]);
	setvbuf(out, NULL, _IOFBF, 16 * 1024 * 1024);
	epoll_fd = epoll_create1(0);
	listener = listen_on(atoi(argv[1]));
	watch(listener);
	signal(SIGTERM, on_term);
	while (!is_ending)
	{
		int			n = epoll_wait(epoll_fd, events, 64, QUIET_MS);

		if (n == 0)
			fflush(out);
		for (int i = 0; i < n; i++)
		{
			if (events[i].data.fd == listener)
				accept_one(listener);
			else
				read_some(events[i].data.fd);
		}
	}
	return fclose(out) == 0 ? 0 : 1;
}
