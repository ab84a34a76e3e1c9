#!/bin/sh
#OAR -t deploy
#OAR -l nodes=4,walltime=2
#OAR --checkpoint 600
#OAR --signal 15
# A batch job that deploys an environment on the nodes that it was given, runs a command, and gives the nodes back at the end,
# also when the job is cancelled or its time is nearly over.
#
#   oarsub -S "./deploy_job.sh debian12-mine ./measure.sh"
#   salloc --nodes=4 --time=2:00:00 --signal=TERM@600 --kill-command=TERM ./deploy_job.sh debian12-mine ./measure.sh
#
# It runs where OAR runs jobs of the type deploy and where salloc is called: on a front end, never on a node that it deploys.
# The command finds the nodes that are ok in the file $OK_NODES and the others in $KO_NODES. The settings below can be given in
# the environment.
set -u

ENVIRONMENT=${1:?usage: deploy_job.sh ENVIRONMENT [COMMAND [ARGUMENT...]]}
shift

# The site's inventory, with the boot server and the nodes' MACs and BMCs; the job's own nodes come from the scheduler.
SITE=${SITE:-/etc/oneimage/inventory}
JOB=${JOB:-/etc/oneimage/auto.nodes.yml}

# A deployment goes on at the boot server when the job ends: it is stopped by this name.
DEPLOYMENT=job-${OAR_JOB_ID:-${SLURM_JOB_ID:-$$}}

# The share of nodes that is enough, and the playbook that gives nodes back; none where the scheduler does that itself.
MIN_OK=${MIN_OK:-75%}
RETURN=${RETURN-oneimage.cluster.diskless}

FOLDER=$(mktemp -d) || exit 1
OK_NODES=$FOLDER/ok KO_NODES=$FOLDER/ko
export OK_NODES KO_NODES

play() { # a program in the background, since sh runs no trap while it waits for one in the foreground
    ansible-playbook -i "$SITE" -i "$JOB" "$@" &
    wait $!
}

give_back() {
    code=$?
    trap '' TERM INT HUP # what gives the nodes back is not cancelled
    trap - EXIT
    # No variable of ours: a signal can come between the start of a program and whatever would be done next.
    set +u
    if [ -n "$!" ] && kill $! 2>/dev/null; then
        wait $!
    fi
    play oneimage.cluster.deploy_stop -e deployment_id="$DEPLOYMENT"
    if [ -n "$RETURN" ]; then
        play "$RETURN" --limit builder:boot_server:reserved || echo "the nodes were not given back" >&2
    fi
    rm -rf "$FOLDER"
    exit "$code"
}
trap give_back EXIT
trap 'exit 143' TERM
trap 'exit 130' INT
trap 'exit 129' HUP

play oneimage.cluster.deploy -e deploy_hosts=reserved \
    -e deployment_environment="$ENVIRONMENT" -e deployment_id="$DEPLOYMENT" -e deployment_min_ok="$MIN_OK" \
    -e deployment_ok_file="$OK_NODES" -e deployment_ko_file="$KO_NODES" || exit

if [ $# -gt 0 ]; then
    "$@" &
    wait $!
fi
