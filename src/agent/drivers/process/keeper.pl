# The keeper: one tiny process per incarnation that outlives the agent. It starts the workload, waits for it, and writes down what
# only a parent can know. Core Perl without any module, because that is in every Debian (perl-base) and costs half a megabyte.
#
#   perl keeper.pl forge ARCH   makes keepers: reads jobs from standard input, forks one keeper for each, tells on standard output when
#                               one ends; ends itself when its input does. Forking here takes well under a millisecond; the agent's own
#                               fork would copy the page tables of its whole heap and stop its event loop for 4 to 12 ms.
#                               Also runs commands beside a workload whose output nobody wants: every check that executes something.
#                               They die with it. An empty job ends the command of that number.
#   perl keeper.pl exec ARCH    one command beside a running workload: streams on 0, 1, 2, outcome on 3; dies with the agent
#
# A job is NAME=VALUE entries, each ended by NUL: aN = argument N, +NAME = the workload's variable NAME, lower-case names = settings
# (in `exec` they are environment variables). So no secret and no command line of a user shows in ours, and LD_PRELOAD, PERL5OPT and
# the like of the workload stay away from us.
#
# Promises of a keeper:
# - The file `lock` is made exclusively: at most one keeper per incarnation gets past it, ever.
# - `starting` is complete before the workload's first instruction: the child waits for our word and ends if we die before giving it.
#   `starting` becomes `started` when the exec has succeeded; otherwise `failed` says which step failed with which errno.
# - `exit` appears by rename, when everything the workload left has been killed, or 50 ms after its end if that takes longer.
#   Its block is reserved at the start, so that a full disk cannot swallow it.
# - We are the subreaper: whoever double-forks becomes our child, and no descendant outlives the main process.
# - The logs stay bounded while nobody else looks. `logs/lost` is written before bytes are dropped, so it never claims too little.
# - The main process is reaped last of all: while its zombie holds the pid, that number names nobody else's process group.
# - The job can be read again from our descriptor `jobFd`, memory that is on no disk and goes with us.
# An I/O error before the start ends us with its errno as exit status.

my ($mode, $arch) = @ARGV;
# By its whole name: Perl's list of folders does not hold ours.
require $0 =~ s{[^/]+$}{keeper-kernel.pl}r;
our %sys = calls_of($arch);
my ($SIGKILL, $SIGTERM, $SIGCHLD) = (9, 15, 17);
my ($WNOHANG, $WEXITED, $WNOWAIT) = (1, 4, 0x01000000);
my ($EACCES, $ENOENT, $ENOTDIR) = (13, 2, 20);
my ($BLOCK_BYTES, $REPORT_AFTER_MS) = (4096, 50);

my %conf = %ENV;
my @signals = qw(HUP INT QUIT PIPE USR1 USR2 ALRM TERM TSTP TTIN TTOU XFSZ FPE);
my ($main, %joined) = 0;

# Whatever the agent itself inherited is none of the workload's business (close_range, the same number everywhere).
syscall(436, $mode eq 'exec' ? 4 : 3, 0xffff_ffff, 0);
$SIG{$_} = 'IGNORE' for @signals;
# Blocked before the first fork: a command may be told to end before it has come to wait for that word.
my $waited = sigset($SIGCHLD, $SIGTERM);
syscall($sys{sigprocmask}, 0, $waited, 0, 8);
$mode eq 'exec' ? run_heard() : forge();
exit 0;

sub forge {
  my ($buffer, $own, %tags) = ('', $$);
  my $unblocked = sigset();
  # So that an ending child interrupts the poll, and only there: everywhere else the signal is blocked.
  $SIG{CHLD} = sub { };
  for (;;) {
    my $poll = pack 'iss', 0, 1, 0;
    syscall($sys{ppoll}, $poll, 1, 0, $unblocked, 8);
    while ((my $pid = waitpid -1, $WNOHANG) > 0) {
      syswrite STDOUT, sprintf "%d %d %d\n", delete $tags{$pid}, $? >> 8, $? & 127;
    }
    next unless (unpack 'iss', $poll)[2];
    exit 0 unless sysread STDIN, $buffer, 65_536, length $buffer;
    while ($buffer =~ /^(\d+) (\d+)\n/ && length $buffer >= $+[0] + $2) {
      my $tag = $1;
      my $job = substr $buffer, $+[0], $2;
      substr($buffer, 0, $+[0] + $2) = '';
      kill('TERM', grep { $tags{$_} == $tag } keys %tags), next if $job eq '';
      my $pid = fork;
      become_child($job, $tag, $own), exit 0 if defined $pid && $pid == 0;
      $tags{$pid} = $tag if defined $pid;
      syswrite STDOUT, sprintf "%d %d 0\n", $tag, $! unless defined $pid;
    }
  }
}

# Only a keeper has a folder.
sub become_child {
  my ($job, $tag, $forge) = @_;
  $SIG{CHLD} = 'DEFAULT';
  %conf = map { /^([^=]*)=(.*)$/s } split /\0/, $job;
  defined $conf{dir} ? run_workload() : run_unheard($tag, $forge);
}

sub run_workload {
  $0 = "holdfast keeper $conf{id}";
  syscall($sys{setsid});
  syscall($sys{prctl}, 36, 1, 0, 0, 0);
  chdir $conf{dir} or exit int $!;
  open $_, '+<', '/dev/null' for *STDIN, *STDOUT, *STDERR;
  my $memory = "job";
  my $fd = syscall($sys{memfd_create}, $memory, 1);
  exit int $! if $fd < 0;
  open(my $kept, '+<&=', $fd) or exit int $!;
  put($kept, $job);
  my $boot = slurp('/proc/sys/kernel/random/boot_id');
  chomp $boot;
  my $self = sprintf '"keeperPid":%d,"keeperStartTime":"%s","bootId":"%s","jobFd":%d', $$, start_time($$), $boot, $fd;
  # By link, so that it is whole as soon as it is there.
  sysopen(my $lock, ".lock.$$", 0x40 | 1, 0600) or exit int $!;
  put($lock, "{$self}\n");
  close $lock;
  my $first = link ".lock.$$", 'lock';
  unlink ".lock.$$";
  exit 0 unless $first;
  my @logs = map { { base => 0, dropped => 0, last => 0, from => 0, file => open_log("logs/$_") } } qw(stdout stderr);
  # Opened and filled now: no block is needed at the end.
  sysopen(my $lost, 'logs/lost', 0x40 | 1, 0600) or exit int $!;
  sysopen(my $ending, '.exit', 0x40 | 1, 0600) or exit int $!;
  put($lost, record('0 0 0 0'));
  put($ending, record(''));

  my @pipes = spawn(map { $_->{file} } @logs);
  sysopen(my $mark, 'starting', 0x40 | 1, 0600) or exit int $!;
  put($mark, sprintf qq({"pid":%d,"startTime":"%s",%s,"atMs":%d}\n), $main, start_time($main), $self, now());
  close $mark;
  my $problem = release(@pipes);
  if ($problem ne '') {
    sysopen(my $failed, '.failed', 0x40 | 1, 0600) or exit int $!;
    put($failed, "$problem\n");
    rename '.failed', 'failed';
    return remove_groups();
  }
  rename 'starting', 'started';

  my $wait_ms = 1000;
  until (ended()) {
    next if pause_for($wait_ms) >= 0;
    my $grown = bound_logs($lost, @logs);
    $wait_ms = $grown > $conf{log_bytes_max} / 4 ? 100 : $grown ? 1000 : 3000;
  }
  my ($code, $signal) = outcome();
  my $at = now();
  my $oom = oom_kills() > 0 && ($signal == $SIGKILL || $code == 137) ? 'true' : 'false';
  pause_for(1) while kill_rest() && now() < $at + $REPORT_AFTER_MS;
  sysseek $ending, 0, 0;
  syswrite $ending, record(sprintf '{"code":%s,"signal":%s,"oom":%s,"atMs":%d}', $signal ? 'null' : $code, $signal || 'null', $oom, $at);
  rename '.exit', 'exit';
  bound_logs($lost, @logs);
  finish();
}

sub run_heard {
  open(my $report, '>&=', 3) or exit int $!;
  run_beside($report, '');
}

# Its outcome is a line of its own among those of the forge, before the line that tells its end.
sub run_unheard {
  my ($tag, $forge) = @_;
  ($mode, $conf{parent}, $0) = ('exec', $forge, 'holdfast exec');
  chdir '/';
  open(my $report, '>&', \*STDOUT) or exit int $!;
  open $_, '+<', '/dev/null' for *STDIN, *STDOUT, *STDERR;
  run_beside($report, "$tag ");
}

sub run_beside {
  my ($report, $prefix) = @_;
  syscall($sys{prctl}, 36, 1, 0, 0, 0);
  syscall($sys{prctl}, 1, $SIGTERM, 0, 0, 0);
  exit 0 if getppid() != $conf{parent};
  my @pipes = spawn(undef, undef, $report);
  close $_ for *STDIN, *STDOUT, *STDERR;
  my $problem = release(@pipes);
  syswrite($report, "${prefix}failed $problem\n"), exit 0 if $problem ne '';
  until (ended()) {
    kill 'KILL', $main if pause_for(60_000) == $SIGTERM;
  }
  my ($code, $signal) = outcome();
  syswrite $report, $prefix . ($signal ? "signal $signal\n" : "exit $code\n");
  finish();
}

# Forks the child, which waits for a byte on the first handle and reports a failed step on the second; its success closes that one.
sub spawn {
  my ($out, $err, $close) = @_;
  pipe(my $wait, my $go) or exit int $!;
  pipe(my $failure, my $report) or exit int $!;
  $main = fork_into_group();
  exit int $! unless defined $main;
  if ($main) {
    close $wait;
    close $report;
    return ($go, $failure);
  }
  close $_ for grep { $_ } $go, $failure, $close;
  syscall($sys{setsid});
  exit 0 unless sysread $wait, my $word, 1;
  my $step = become($out, $err);
  syswrite $report, "$step " . ($! + 0);
  exit 127;
}

# Gives the child the word; the step that failed, and its errno, or nothing when it is executing its program.
sub release {
  my ($go, $failure) = @_;
  my $problem = '';
  syswrite $go, '1';
  sysread $failure, $problem, 64;
  waitpid $main, 0 if $problem ne '';
  return $problem;
}

# Joining a cgroup by writing to cgroup.procs waits for an RCU grace period (6 to 12 ms measured on an idle machine). A version 2
# group takes the child at its birth instead (clone3 with CLONE_INTO_CGROUP); a version 1 group is joined by `tasks` in `become`.
sub fork_into_group {
  for my $group (grep { -e "$_/cgroup.events" } groups()) {
    sysopen(my $dir, $group, 0) or last;
    my $args = pack 'Q11', 1 << 33, 0, 0, 0, $SIGCHLD, 0, 0, 0, 0, 0, fileno $dir;
    my $pid = syscall(435, $args, length $args);
    $joined{$group} = 1 if $pid >= 0;
    return $pid if $pid >= 0;
  }
  return fork;
}

# Returns only when a step failed: its name; its errno is in $!.
sub become {
  my ($out, $err) = @_;
  for my $group (grep { !$joined{$_} } groups()) {
    sysopen(my $tasks, "$group/tasks", 1) or sysopen($tasks, "$group/cgroup.procs", 1) or return 'limits';
    defined syswrite $tasks, '0' or return 'limits';
  }
  $SIG{$_} = 'DEFAULT' for @signals;
  syscall($sys{sigprocmask}, 1, $waited, 0, 8);
  if (defined $conf{uid}) {
    my @groups = split /,/, $conf{groups};
    syscall($sys{setgroups}, scalar @groups, pack 'L*', @groups) == 0 or return 'user';
    syscall($sys{setgid}, $conf{gid} + 0) == 0 or return 'user';
    syscall($sys{setuid}, $conf{uid} + 0) == 0 or return 'user';
  }
  umask 022;
  chdir $conf{cwd} or return 'working_dir';
  if ($out) {
    open STDIN, '<', '/dev/null' or return 'streams';
    open STDOUT, '>&', $out or return 'streams';
    open STDERR, '>&', $err or return 'streams';
  }
  my @args;
  push @args, $conf{ 'a' . @args } while defined $conf{ 'a' . @args };
  my $args = pack 'p*', @args, undef;
  my @vars = map { substr($_, 1) . "=$conf{$_}" } grep { /^\+/ } keys %conf;
  my $vars = pack 'p*', @vars, undef;
  my @paths = $args[0] =~ m{/} ? '' : map { length $_ ? "$_/" : './' } split /:/, $conf{'+PATH'}, -1;
  # Not Perl's own exec: libc hands what the kernel refuses (ENOEXEC) to a shell, and the failure would be lost.
  my $denied = 0;
  for my $prefix (@paths) {
    my $path = "$prefix$args[0]";
    syscall($sys{execve}, $path, $args, $vars);
    $denied = 1 if $! == $EACCES;
    return 'exec' unless $! == $ENOENT || $! == $EACCES || $! == $ENOTDIR;
  }
  $! = $denied ? $EACCES : $ENOENT;
  return 'exec';
}

# Reaps whoever ended, except the main process; true when that one has ended.
sub ended {
  for (;;) {
    my $info = "\0" x 128;
    syscall($sys{waitid}, 0, 0, $info, $WEXITED | $WNOHANG | $WNOWAIT, 0) == 0 or return 1;
    my ($signo, undef, undef, undef, $pid) = unpack 'l5', $info;
    return 0 unless $signo;
    return 1 if $pid == $main;
    waitpid $pid, $WNOHANG;
  }
}

# Exit code and signal of the main process, which stays a zombie.
sub outcome {
  my $info = "\0" x 128;
  syscall($sys{waitid}, 1, $main, $info, $WEXITED | $WNOHANG | $WNOWAIT, 0);
  my (undef, undef, $how, undef, undef, undef, $status) = unpack 'l7', $info;
  return $how == 1 ? ($status, 0) : (0, $status);
}

# One round of killing everything that is not the main process; the number of those still there.
sub kill_rest {
  kill 'KILL', -$main;
  # Commands run beside the workload are no descendants of ours, but members of its group.
  my ($group) = $mode eq 'exec' ? () : groups();
  kill 'KILL', grep { $_ > 1 && $_ != $main } split /\s+/, slurp("$group/cgroup.procs") if $group;
  my $left = 0;
  for my $pid (children()) {
    next if $pid == $main;
    kill 'KILL', $pid;
    $left += 1 if waitpid($pid, $WNOHANG) == 0;
  }
  return $left;
}

# Until nothing of it is left, however long a process stuck in the kernel takes; then the zombie of the main process goes too.
sub finish {
  for (my $wait_ms = 1; kill_rest(); $wait_ms = $wait_ms < 500 ? $wait_ms * 2 : 1000) { pause_for($wait_ms) }
  waitpid $main, 0;
  remove_groups() if $mode ne 'exec';
}

# An old-style group can be busy for a moment after its last process has gone.
sub remove_groups {
  for my $group (groups()) {
    my $left = 50;
    pause_for(10) until rmdir $group or !-d $group or !$left--;
    # The one above goes with the last below it.
    rmdir $group =~ s{/[^/]+$}{}r;
  }
}

# By how many bytes the logs have grown since the last look.
sub bound_logs {
  my ($lost, @logs) = @_;
  my ($grown, $changed) = (0, 0);
  for my $log (@logs) {
    my $size = -s $log->{file} || 0;
    if ($size < $log->{last}) {
      # The workload has truncated its own log (`> /dev/stdout` does that): what we knew of it is gone.
      $log->{base} += $log->{last};
      $log->{dropped} = $log->{base};
      $log->{from} = 0;
      $changed = 1;
    }
    $grown += $size - $log->{last} if $size > $log->{last};
    $log->{last} = $size;
    next if $size - $log->{from} <= $conf{log_bytes_max};
    my $to = $size - int($conf{log_bytes_max} / 2);
    $to -= $to % $BLOCK_BYTES;
    $log->{dropped} = $log->{base} + $to;
    $log->{punch} = $to;
    $changed = 1;
  }
  return $grown unless $changed;
  write_lost($lost, @logs);
  for my $log (grep { $_->{punch} } @logs) {
    if (syscall($sys{fallocate}, fileno $log->{file}, 3, $log->{from}, $log->{punch} - $log->{from}) == 0) {
      $log->{from} = $log->{punch};
    } else {
      # No holes on this file system: all of it goes, and file offset 0 is a later byte of the stream from now on.
      my $size = -s $log->{file};
      truncate $log->{file}, 0;
      $log->{base} += $size;
      $log->{dropped} = $log->{base};
      $log->{last} = 0;
      write_lost($lost, @logs);
    }
    delete $log->{punch};
  }
  return $grown;
}

sub write_lost {
  my ($lost, @logs) = @_;
  sysseek $lost, 0, 0;
  syswrite $lost, record(join ' ', map { ($_->{dropped}, $_->{base}) } @logs);
}

sub open_log {
  sysopen(my $log, $_[0], 0x400 | 0x40 | 1, 0600) or exit int $!;
  # So that the workload may open /dev/stdout again under its own user.
  chown $conf{uid}, $conf{gid}, $log if defined $conf{uid};
  return $log;
}

sub oom_kills { return defined $conf{oom} && slurp($conf{oom}) =~ /^oom_kill (\d+)/m ? $1 : 0 }

# The signal that came, or -1 after the time.
sub pause_for {
  my ($ms) = @_;
  my $time = pack 'qq', int($ms / 1000), ($ms % 1000) * 1_000_000;
  return syscall($sys{sigtimedwait}, $waited, 0, $time, 8);
}

sub groups { return split /\n/, $conf{cgroups} || '' }

sub record { return sprintf "%-126s\n", $_[0] }

# Before the start all or nothing; a short write is a full disk.
sub put {
  my ($file, $text) = @_;
  $! = 0;
  return if (syswrite($file, $text) || 0) == length $text;
  my $errno = $! + 0 || 28;
  kill 'KILL', $main if $main;
  exit $errno;
}
