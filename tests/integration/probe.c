/* Asks and answers in a container, linked to musl: no Debian package has such a program.
 *
 * probe lookup NAME                     addresses as getaddrinfo(3) gives them, one a line
 * probe tcp ADDRESS PORT                what a server of this program says
 * probe udp ADDRESS PORT [SOURCE_PORT]  the same over UDP
 * probe serve NAME PORT...              tell everybody over HTTP and UDP who asks: "NAME saw ADDRESS"
 *
 * Whoever asks waits 2 s. A failure is one line in the words of the C library, and status 1.
 */

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { MOST_PORTS = 16, WAIT = 2 };

static void fail(const char *why) {
  puts(why);
  exit(1);
}

static void numeric(const struct sockaddr *address, socklen_t size, char *text, socklen_t room) {
  int error = getnameinfo(address, size, text, room, 0, 0, NI_NUMERICHOST);
  if (error) fail(gai_strerror(error));
  if (!strncmp(text, "::ffff:", 7)) memmove(text, text + 7, strlen(text + 7) + 1);
}

static struct addrinfo *find(const char *name, const char *port, int kind) {
  struct addrinfo hints = {.ai_socktype = kind}, *found;
  int error = getaddrinfo(name, port, &hints, &found);
  if (error) fail(gai_strerror(error));
  return found;
}

static void lookup(const char *name) {
  char text[64];
  for (struct addrinfo *one = find(name, 0, SOCK_STREAM); one; one = one->ai_next) {
    numeric(one->ai_addr, one->ai_addrlen, text, sizeof text);
    puts(text);
  }
}

static void ask(int kind, const char *address, const char *port, int source) {
  struct addrinfo *peer = find(address, port, kind);
  struct timeval wait = {.tv_sec = WAIT};
  char text[1500];
  ssize_t size, all = 0;
  int it = socket(peer->ai_family, kind, 0);
  setsockopt(it, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
  setsockopt(it, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
  if (source) {
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(source)};
    if (bind(it, (struct sockaddr *)&own, sizeof own)) fail(strerror(errno));
  }
  if (connect(it, peer->ai_addr, peer->ai_addrlen)) fail(errno == EINPROGRESS ? "timed out" : strerror(errno));
  if (send(it, "GET / HTTP/1.0\r\n\r\n", 18, 0) < 0) fail(strerror(errno));
  do {
    size = recv(it, text + all, sizeof text - 1 - all, 0);
    if (size < 0) fail(errno == EAGAIN ? "timed out" : strerror(errno));
    all += size;
  } while (size > 0 && kind == SOCK_STREAM && all < (ssize_t)sizeof text - 1);
  text[all] = 0;
  char *body = kind == SOCK_STREAM ? strstr(text, "\r\n\r\n") : 0;
  fputs(body ? body + 4 : text, stdout);
}

static int listener(int kind, int port) {
  struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
  int yes = 1, no = 0, it = socket(AF_INET6, kind, 0);
  if (kind == SOCK_STREAM) setsockopt(it, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  setsockopt(it, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no);
  if (bind(it, (struct sockaddr *)&any, sizeof any)) fail(strerror(errno));
  if (kind == SOCK_STREAM && listen(it, 64)) fail(strerror(errno));
  return it;
}

static void answer_tcp(int it, const char *name) {
  struct sockaddr_storage peer;
  struct timeval wait = {.tv_sec = WAIT};
  socklen_t size = sizeof peer;
  char text[1500], from[64];
  int client = accept(it, (struct sockaddr *)&peer, &size);
  if (client < 0) return;
  numeric((struct sockaddr *)&peer, size, from, sizeof from);
  setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
  if (recv(client, text, sizeof text, 0) > 0)
    dprintf(client, "HTTP/1.0 200 OK\r\nConnection: close\r\n\r\n%s saw %s\n", name, from);
  shutdown(client, SHUT_WR);
  close(client);
}

static void answer_udp(int it, const char *name) {
  struct sockaddr_storage peer;
  socklen_t size = sizeof peer;
  char text[1500], from[64];
  if (recvfrom(it, text, sizeof text, 0, (struct sockaddr *)&peer, &size) < 0) return;
  numeric((struct sockaddr *)&peer, size, from, sizeof from);
  int length = snprintf(text, sizeof text, "%s saw %s\n", name, from);
  sendto(it, text, length, 0, (struct sockaddr *)&peer, size);
}

static void end(int number) {
  (void)number;
  _exit(0);
}

static void serve(const char *name, char **ports, int count) {
  struct pollfd polled[2 * MOST_PORTS];
  if (count > MOST_PORTS) fail("too many ports");
  signal(SIGPIPE, SIG_IGN);
  signal(SIGTERM, end); /* as process 1 it would not end of it */
  for (int i = 0; i < count; i++) {
    polled[2 * i] = (struct pollfd){.fd = listener(SOCK_STREAM, atoi(ports[i])), .events = POLLIN};
    polled[2 * i + 1] = (struct pollfd){.fd = listener(SOCK_DGRAM, atoi(ports[i])), .events = POLLIN};
  }
  while (poll(polled, 2 * count, -1) > 0)
    for (int i = 0; i < 2 * count; i++)
      if (polled[i].revents) (i % 2 ? answer_udp : answer_tcp)(polled[i].fd, name);
}

int main(int count, char **words) {
  if (count == 3 && !strcmp(words[1], "lookup")) lookup(words[2]);
  else if (count == 4 && !strcmp(words[1], "tcp")) ask(SOCK_STREAM, words[2], words[3], 0);
  else if ((count == 4 || count == 5) && !strcmp(words[1], "udp"))
    ask(SOCK_DGRAM, words[2], words[3], count == 5 ? atoi(words[4]) : 0);
  else if (count >= 4 && !strcmp(words[1], "serve")) serve(words[2], words + 3, count - 3);
  else fail("probe lookup NAME | tcp ADDRESS PORT | udp ADDRESS PORT [SOURCE_PORT] | serve NAME PORT...");
  return 0;
}
