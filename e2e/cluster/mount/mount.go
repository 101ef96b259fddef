// Package mount reads the kernel's list of mounts and removes those that a
// cluster made.
package mount

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Mount is one line of /proc/self/mountinfo.
type Mount struct {
	// Root is the folder of the file system that is mounted.
	Root string
	// Point is where it is mounted.
	Point string
	// Type is the file system's type, and Options are those of the file
	// system as a whole; for a cgroup they name its controllers.
	Type    string
	Options []string
}

// List returns all mounts, oldest first.
func List() ([]Mount, error) {
	content, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	return Parse(string(content)), nil
}

// Parse reads the text of a mountinfo file (proc_pid_mountinfo(5)). A line that
// it does not understand is left out.
func Parse(text string) []Mount {
	var mounts []Mount
	for _, line := range strings.Split(text, "\n") {
		before, after, found := strings.Cut(line, " - ")
		fields, rest := strings.Fields(before), strings.Fields(after)
		if !found || len(fields) < 6 || len(rest) < 3 {
			continue
		}
		mounts = append(mounts, Mount{
			Root:    unescape(fields[3]),
			Point:   unescape(fields[4]),
			Type:    rest[0],
			Options: strings.Split(rest[2], ","),
		})
	}
	return mounts
}

// Below returns the mount points at folder and under it, newest first, which is the
// order to remove them in.
func Below(mounts []Mount, folder string) []string {
	var points []string
	for i := len(mounts) - 1; i >= 0; i-- {
		point := mounts[i].Point
		if point == folder || strings.HasPrefix(point, folder+"/") {
			points = append(points, point)
		}
	}
	return points
}

// RemoveBelow removes every mount at folder and under it. One that is in use
// gets detached: it vanishes with its last user. It returns how many there were.
func RemoveBelow(folder string) (int, error) {
	mounts, err := List()
	if err != nil {
		return 0, err
	}
	points := Below(mounts, folder)
	for _, point := range points {
		err := unix.Unmount(point, unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EBUSY) {
			err = unix.Unmount(point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		}
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return 0, fmt.Errorf("unmount %s: %w", point, err)
		}
	}
	return len(points), nil
}

// unescape undoes the octal escapes that mountinfo has for blanks and backslashes.
func unescape(text string) string {
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+3 < len(text) {
			if code, err := strconv.ParseUint(text[i+1:i+4], 8, 8); err == nil {
				out.WriteByte(byte(code))
				i += 3
				continue
			}
		}
		out.WriteByte(text[i])
	}
	return out.String()
}
