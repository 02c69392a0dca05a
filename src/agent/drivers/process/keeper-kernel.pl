# What keeper.pl asks of the kernel beyond what the language itself has: calls by number, and what /proc tells.

my @calls = qw(prctl setsid fallocate waitid sigprocmask sigtimedwait clock_gettime setgroups setgid setuid execve ppoll memfd_create);
my %numbers = (
  x64 => [157, 112, 285, 247, 14, 128, 228, 116, 106, 105, 59, 271, 319],
  arm64 => [167, 157, 47, 95, 135, 137, 113, 159, 144, 146, 221, 73, 279],
);
our %sys;

# Name and number of each call; ENOSYS (38) is the exit status on a machine that is not in the table.
sub calls_of {
  my ($arch) = @_;
  my %of;
  @of{@calls} = @{ $numbers{$arch} || exit 38 };
  return %of;
}

sub sigset {
  my $bits = 0;
  $bits |= 1 << ($_ - 1) for @_;
  return pack 'Q', $bits;
}

# Unix milliseconds.
sub now {
  my $time = "\0" x 16;
  syscall($sys{clock_gettime}, 0, $time);
  return (unpack 'qq', $time)[0] * 1000 + int((unpack 'qq', $time)[1] / 1_000_000);
}

sub children {
  my $list = slurp("/proc/$$/task/$$/children");
  return split ' ', $list if defined $list;
  # A kernel without that file: ask everybody for their parent.
  opendir(my $proc, '/proc') or return ();
  return grep { /^\d+$/ && (stat_fields($_))[1] == $$ } readdir $proc;
}

# Fields 3 and following of /proc/PID/stat; the name before them may hold anything.
sub stat_fields {
  my $text = slurp("/proc/$_[0]/stat");
  return defined $text && $text =~ /^.*\) (.*)$/s ? split / /, $1 : ();
}

sub start_time { return (stat_fields($_[0]))[19] }

# The whole file; undefined when it cannot be opened.
sub slurp {
  open(my $file, '<', $_[0]) or return undef;
  my $text = '';
  1 while sysread $file, $text, 65_536, length $text;
  return $text;
}

1;
