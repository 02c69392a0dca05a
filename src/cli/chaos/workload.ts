// What chaos harms: a tiny server of its own that answers a nonce through its port with that nonce, a mark made anew at each start, and its
// process id, so that the oracle knows from the workload itself, and from nobody else, who serves. It does a few things on command, for faults from within.
import type { InstanceInput } from '../../contracts/spec.ts'

/**
 * Perl, because it starts in milliseconds and is on every Debian. One line in, one line out; a GET is answered as HTTP. As process 1 of a
 * container it answers signals itself, as shells tell of them: the kernel drops those that such a process has no handler for.
 */
const PROGRAM = `
use strict; use Socket; $SIG{PIPE} = 'IGNORE'; $| = 1; my $life = join '-', $$, int rand 1e9;
if ($$ == 1) { my %code = (TERM => 143, SEGV => 139, ABRT => 134); for my $name (keys %code) { $SIG{$name} = sub { exit $code{$name} } } }
if ($ENV{CHAOS_STARTS}) { my $starts; open($starts, '>>', $ENV{CHAOS_STARTS}) and syswrite($starts, 'x') }
if ($ENV{CHAOS_LIFE_MS}) { select(undef, undef, undef, $ENV{CHAOS_LIFE_MS} / 1000); exit 3 }
die 'no PORT' unless $ENV{PORT};
socket(my $door, PF_INET, SOCK_STREAM, 0) or die "socket: $!";
setsockopt($door, SOL_SOCKET, SO_REUSEADDR, 1);
bind($door, sockaddr_in($ENV{PORT}, $ENV{CHAOS_ANY} ? INADDR_ANY : INADDR_LOOPBACK)) or die "bind: $!";
listen($door, 128) or die "listen: $!";
my (%open, @held);
while (1) {
  my $ready = '';
  vec($ready, fileno($_), 1) = 1 for $door, values %open;
  next if select($ready, undef, undef, undef) < 1;
  if (vec($ready, fileno($door), 1) && accept(my $guest, $door)) { $open{fileno $guest} = $guest; next }
  for my $number (keys %open) {
    next unless vec($ready, $number, 1);
    my $guest = $open{$number};
    my $line;
    if (!sysread($guest, $line, 512)) { delete $open{$number}; close $guest; next }
    if ($line =~ /^GET /) {
      syswrite($guest, "HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\nok");
      delete $open{$number}; close $guest; next
    }
    exit $1 if $line =~ /^exit (\\d+)/;
    if ($line =~ /^eat (\\d+)/) { push @held, 'x' x 1048576 for 1 .. $1 }
    if ($line =~ /^flood (\\d+)/) { print 'flood ' x 20, "\\n" for 1 .. $1 }
    $line =~ s/\\s+\\z//;
    syswrite($guest, "$line $life $$\\n");
  }
}
`

/** Label of everything that chaos launches: what carries another value, or none, is somebody else's. */
export const CHAOS_LABEL = 'holdfast-chaos'

/** In the environment of each: a process without both is never harmed. */
export const CHAOS_MARK = 'CHAOS_RUN'
export const CHAOS_NAME = 'CHAOS_NAME'

/** In a container each has an address of its own. */
const CONTAINER_PORT = 7070

export interface WorkloadWish {
  readonly name: string
  readonly run: string
  readonly more?: Partial<InstanceInput>
}

export function workload({ name, run, more = {} }: WorkloadWish): InstanceInput {
  const contained = more.runtime === 'docker'
  return {
    name,
    command: ['perl', '-e', PROGRAM],
    memory: '32Mi',
    cpu: 0.1,
    ports: [{ name: 'beat', internal: contained ? CONTAINER_PORT : 0 }],
    stop: { grace: '1s' },
    labels: { [CHAOS_LABEL]: run },
    ...more,
    env: { [CHAOS_MARK]: run, [CHAOS_NAME]: name, ...(contained && { CHAOS_ANY: '1' }), ...more.env },
  }
}
