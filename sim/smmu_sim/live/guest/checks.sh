# The checks of the guest. Needs report.sh. What the host expects comes as smmu_check.NAME=.

DISK=/dev/vda
LIMIT=60                                  # seconds that one access to a device may take
HWRNG=/dev/hwrng

# The platform device behind a virtio driver, like 5f101000.virtio_mmio; empty if there is none.
platform_of()
{
    for device in /sys/bus/virtio/drivers/"$1"/virtio*; do
        [ -e "$device" ] && basename "$(dirname "$(readlink -f "$device")")" && return
    done
}

# The StreamID in a platform device's property iommus = <&smmu StreamID>.
stream_id_of()
{
    node=/sys/bus/platform/devices/$1/of_node/iommus
    [ -e "$node" ] && printf '0x%x' 0x"$(hexdump -v -e '1/1 "%02x"' "$node" | cut -c 9-16)"
}

group_of()
{
    basename "$(readlink /sys/bus/platform/devices/"$1"/iommu_group)"
}

digest()
{
    md5sum "$@" | cut -d ' ' -f 1
}

drop_caches()
{
    sync
    echo 3 > /proc/sys/vm/drop_caches
}

wait_for()
{
    tries=0
    until [ -e "$1" ]; do
        tries=$((tries + 1))
        [ $tries -gt 50 ] && return 1
        sleep 0.1
    done
}

about_kernel()
{
    stage "kernel and SMMU driver"
    value cpus "$(grep -c ^processor /proc/cpuinfo)"
    value page_size "$(sed -n 's/^KernelPageSize: *\([0-9]*\) kB/\1/p' /proc/self/smaps | head -n 1)"
    features=$(dmesg | grep 'arm-smmu-v3.*features' | sed 's/.*arm-smmu-v3 //' | head -n 1)
    judge probe "${features:-no driver}" [ -n "$features" ]
}

about_devices()
{
    about_device blk virtio_blk
    about_device rng virtio_rng
    about_device net virtio_net
}

about_device()
{
    platform=$(platform_of "$2")
    [ -n "$platform" ] || { check "device.$1" failed "no device with driver $2"; return; }
    check "device.$1" ok "$platform"
    [ -e /sys/bus/platform/devices/"$platform"/iommu_group ] || return
    value "sid.$1" "$(stream_id_of "$platform")"
    value "group.$1" "$(cat /sys/kernel/iommu_groups/"$(group_of "$platform")"/type)"
}

read_disk()
{
    drop_caches
    found=$(timeout $LIMIT dd if=$DISK bs=64k 2>/dev/null | digest)
    judge "$1" "MD5 $found" [ "$found" = "$(cat /tmp/disk)" ]
}

# Random data to half of the disk's 4 KB blocks, so that requests stay small and many.
write_disk()
{
    blocks=$(($(cat /sys/class/block/vda/size) / 8))
    count=$((blocks / 4))
    dd if=/dev/urandom of=/tmp/pattern bs=4k count=$count 2>/dev/null
    timeout $LIMIT dd if=/tmp/pattern of=$DISK bs=4k seek=$count count=$count conv=fsync,notrunc 2>/dev/null \
        || check disk_write failed "dd does not end well"
    drop_caches
    written=$(digest /tmp/pattern)
    found=$(timeout $LIMIT dd if=$DISK bs=4k skip=$count count=$count 2>/dev/null | digest)
    judge disk_write "$count blocks, MD5 $found" [ "$found" = "$written" ]
    drop_caches
    dd if=$DISK bs=64k 2>/dev/null | digest > /tmp/disk
    value disk_after_writes "$(cat /tmp/disk)"
    rm /tmp/pattern
}

about_disk()
{
    stage "block device"
    wait_for $DISK || { check disk_read failed "no $DISK"; return; }
    option disk - > /tmp/disk
    read_disk disk_read
}

about_writes()
{
    stage "writing the block device"
    write_disk
}

# Two reads that differ and are not all alike.
read_random()
{
    timeout $LIMIT dd if=$HWRNG of=/tmp/one bs=64 count=1 2>/dev/null
    timeout $LIMIT dd if=$HWRNG of=/tmp/two bs=64 count=1 2>/dev/null
    size=$(cat /tmp/one /tmp/two | wc -c)
    kinds=$(cat /tmp/one /tmp/two | hexdump -v -e '1/1 "%02x\n"' | sort -u | wc -l)
    different=$(cmp -s /tmp/one /tmp/two && echo same || echo different)
    judge "$1" "$size bytes, $kinds values, $different" \
        [ "$size" -ge 32 -a "$kinds" -ge 8 -a "$different" = different ]
}

about_random()
{
    stage "random device"
    value rng "$(cat /sys/class/misc/hw_random/rng_current)"
    read_random random
}

network_interface()
{
    for interface in /sys/class/net/*; do
        [ "$(basename "$(readlink "$interface"/device/driver)")" = virtio_net ] && basename "$interface"
    done
}

about_network()
{
    stage "network"
    send_pings ping
}

send_pings()
{
    interface=$(network_interface)
    [ -n "$interface" ] || { check "$1" failed "no interface"; return; }
    ip address add "$(option address 10.0.2.15/24)" dev "$interface" 2>/dev/null
    ip link set "$interface" up
    ping -c 5 -W 5 -i 0.2 -s 1000 "$(option peer 10.0.2.2)" > /tmp/ping
    judge "$1" "$(grep 'packet loss' /tmp/ping)" grep -q ' 0% packet loss' /tmp/ping
}

# Unbind a virtio driver's platform device and bind it, then the driver. In between the bridge has
# time to find where the kernel has mapped the device's registers now.
rebind_platform()
{
    platform=$(platform_of "$1")
    [ -n "$platform" ] || return
    echo 0 > /sys/bus/virtio/drivers_autoprobe
    rebind /sys/bus/platform/drivers/virtio-mmio "$platform"
    sleep 0.5
    ls /sys/bus/platform/devices/"$platform" | grep ^virtio > /sys/bus/virtio/drivers/"$1"/bind
    echo 1 > /sys/bus/virtio/drivers_autoprobe
}

# rebind DRIVER DEVICE: a driver's folder in /sys, the name of its device
rebind()
{
    stage "unbinding $2 from ${1##*/}"
    echo "$2" > "$1"/unbind || return
    stage "binding $2 to ${1##*/}"
    echo "$2" > "$1"/bind
}

about_rebinding()
{
    blk=$(platform_of virtio_blk)
    rebind /sys/bus/virtio/drivers/virtio_blk "$(ls /sys/bus/platform/devices/"$blk" | grep ^virtio)"
    wait_for $DISK
    read_disk rebind_virtio_blk
    for name in virtio_blk virtio_net virtio_rng; do
        rebind_platform $name
    done
    wait_for $DISK
    read_disk rebind_virtio_mmio
    read_random rebind_random
    send_pings rebind_ping
}

# Another default domain for the block device, and the first one again.
change_domain()
{
    blk=$(platform_of virtio_blk)
    group=/sys/kernel/iommu_groups/$(group_of "$blk")
    first=$(cat "$group"/type)
    for type in "$@" "$first"; do
        [ "$type" = "$(cat "$group"/type)" ] && continue
        stage "domain $type for the block device"
        echo "$blk" > /sys/bus/platform/drivers/virtio-mmio/unbind
        echo "$type" > "$group"/type
        echo "$blk" > /sys/bus/platform/drivers/virtio-mmio/bind
        wait_for $DISK
        value domain_is "$type $(cat "$group"/type)"
        read_disk "domain_$type"
    done
}

about_domains()
{
    [ -e /sys/kernel/iommu_groups ] && [ -n "$(ls /sys/kernel/iommu_groups)" ] \
        || { check domain_identity failed "no IOMMU groups"; return; }
    change_domain identity DMA DMA-FQ
}

poke()
{
    devmem "$1" 32 "$2"
}

# One access of 8 bytes to an address by the device with a StreamID: 1 reads, 2 writes. The registers
# with which it is asked for are those of smmu_sim.live.rogue.
stray_access()
{
    poke $((ROGUE + 0x4)) "$1"
    poke $((ROGUE + 0x8)) $(($2 & 0xffffffff))
    poke $((ROGUE + 0xc)) $(($2 >> 32))
    poke $((ROGUE)) "$3"
    tries=0
    until [ $(($(devmem $((ROGUE)) 32))) = 0 ]; do
        tries=$((tries + 1))
        [ $tries -gt 100 ] && return 1
        sleep 0.1
    done
    devmem $((ROGUE + 0x10)) 32 > /tmp/response
}

# smmu_check.stray=StreamID:address:command,...
about_faults()
{
    stage "accesses to unmapped addresses"
    ROGUE=$(option rogue)
    [ -n "$ROGUE" ] || return
    for access in $(option stray | tr ',' ' '); do
        stray_access $(echo "$access" | tr ':' ' ') || check stray failed "$access: no answer"
        value stray "$access $(cat /tmp/response)"
    done
    sleep 1                               # the handler of the event queue is a thread
    read_disk after_fault
}

about_end()
{
    stage "after all that"
    grep arm-smmu /proc/interrupts | tr -s ' ' | while read -r line; do value interrupt "$line"; done
    dmesg | grep -E 'arm-smmu-v3|iommu: |virtio|vda' | while read -r line; do echo "LOG $line"; done
    bad=$(dmesg | grep -E 'CMD_SYNC timeout|CMDQ error|unexpected global error|Oops|BUG:|WARNING:|Call trace|I/O error' | head -n 1)
    judge kernel_log "${bad:-nothing bad in it}" [ -z "$bad" ]
}

for part in $(option parts kernel,devices,disk,writes,random,network,rebinding,domains,faults,end | tr ',' ' ')
do
    about_$part
done
echo "CHECKS DONE"
