"""Find the video files of a folder."""

from pathlib import Path

VIDEO_ENDINGS = {".avi", ".mp4", ".mkv", ".mov", ".webm", ".mpg", ".mpeg", ".m4v"}
_SYSTEM_FOLDERS = {"__MACOSX", "@eaDir"}


def find_videos(folder: Path, depth: int | None = None) -> list[str]:
    """List the video files anywhere below `folder`, or exactly `depth` levels below it (2: `<class>/<video>`).

    Returns sorted paths relative to `folder`, with forward slashes. Hidden files and folders and those that macOS and
    Synology add are skipped.
    """
    folder = Path(folder)
    found = [
        file.relative_to(folder)
        for file in folder.glob("/".join("*" * depth) if depth else "**/*")
        if file.suffix.lower() in VIDEO_ENDINGS and file.is_file()
    ]
    return [
        file.as_posix()
        for file in sorted(found)
        if not any(part.startswith(".") or part in _SYSTEM_FOLDERS for part in file.parts)
    ]
