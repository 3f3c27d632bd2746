# How a check reports: one line on the console, read by smmu_sim.live.checks.
#   CHECK name ok|failed detail      judged here
#   VALUE name text                  judged by the host, which knows what must be
#   STAGE text                       what comes now

check()
{
    name=$1 verdict=$2; shift 2
    echo "CHECK $name $verdict $*"
}

# judge NAME DETAIL COMMAND...: ok if the command succeeds
judge()
{
    name=$1 detail=$2; shift 2
    if "$@"; then check "$name" ok "$detail"; else check "$name" failed "$detail"; fi
}

value()
{
    name=$1; shift
    echo "VALUE $name $*"
}

stage()
{
    echo "STAGE $*"
}

# option NAME DEFAULT: what the host put on the kernel's command line as smmu_check.NAME=
option()
{
    found=$(tr ' ' '\n' < /proc/cmdline | sed -n "s/^smmu_check\.$1=//p" | tail -n 1)
    echo "${found:-$2}"
}
