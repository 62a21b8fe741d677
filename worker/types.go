package worker

// builtinType is our table of common extensions, with the names of the IANA registry where it has one. It is the same
// on every machine, unlike the host's; "" means not known.
func builtinType(ext string) string {
	switch ext {
	// The web.
	case "xhtml", "xht":
		return "application/xhtml+xml"
	case "mjs", "cjs", "jsx":
		return "text/javascript"
	case "json", "map":
		return "application/json"
	case "jsonld":
		return "application/ld+json"
	case "geojson":
		return "application/geo+json"
	case "webmanifest":
		return "application/manifest+json"
	case "wasm":
		return "application/wasm"
	case "atom":
		return "application/atom+xml"
	case "rss":
		return "application/rss+xml"
	case "ics":
		return "text/calendar"
	case "vcf":
		return "text/vcard"
	case "vtt":
		return "text/vtt"

	// Text and data.
	case "txt", "text", "log", "conf", "cfg", "ini", "srt":
		return "text/plain"
	case "csv":
		return "text/csv"
	case "tsv":
		return "text/tab-separated-values"
	case "md", "markdown":
		return "text/markdown"
	case "xml", "xsd", "xsl":
		return "application/xml"
	case "yaml", "yml":
		return "application/yaml"
	case "toml":
		return "application/toml"
	case "sql":
		return "application/sql"
	case "jsonl", "ndjson":
		return "application/x-ndjson"
	case "parquet":
		return "application/vnd.apache.parquet"
	case "avro":
		return "application/avro"
	case "sqlite", "sqlite3", "db3":
		return "application/vnd.sqlite3"
	case "gpx":
		return "application/gpx+xml"
	case "kml":
		return "application/vnd.google-earth.kml+xml"
	case "kmz":
		return "application/vnd.google-earth.kmz"
	case "pem", "crt", "cer":
		return "application/x-x509-ca-cert"
	case "sh":
		return "application/x-sh"
	case "py":
		return "text/x-python"
	case "go":
		return "text/x-go"
	case "c", "h":
		return "text/x-c"
	case "java":
		return "text/x-java"
	case "tex":
		return "application/x-tex"
	}
	if t := imageType(ext); t != "" {
		return t
	}
	if t := soundType(ext); t != "" {
		return t
	}
	if t := officeType(ext); t != "" {
		return t
	}
	return archiveType(ext)
}

func imageType(ext string) string {
	switch ext {
	case "webp":
		return "image/webp"
	case "avif":
		return "image/avif"
	case "heic":
		return "image/heic"
	case "heif":
		return "image/heif"
	case "jxl":
		return "image/jxl"
	case "jp2":
		return "image/jp2"
	case "jfif":
		return "image/jpeg"
	case "apng":
		return "image/apng"
	case "svg", "svgz":
		return "image/svg+xml"
	case "ico", "cur":
		return "image/vnd.microsoft.icon"
	case "bmp", "dib":
		return "image/bmp"
	case "psd":
		return "image/vnd.adobe.photoshop"
	case "dng":
		return "image/x-adobe-dng"
	case "cr2", "cr3":
		return "image/x-canon-" + ext
	case "nef":
		return "image/x-nikon-nef"
	case "arw":
		return "image/x-sony-arw"
	case "orf":
		return "image/x-olympus-orf"
	case "raf":
		return "image/x-fuji-raf"
	case "rw2":
		return "image/x-panasonic-rw2"
	case "exr":
		return "image/x-exr"
	case "dxf":
		return "image/vnd.dxf"
	case "dwg":
		return "image/vnd.dwg"
	case "djvu", "djv":
		return "image/vnd.djvu"
	case "dcm":
		return "application/dicom"
	case "ai", "eps", "ps":
		return "application/postscript"
	case "stl":
		return "model/stl"
	case "obj":
		return "model/obj"
	case "gltf":
		return "model/gltf+json"
	case "glb":
		return "model/gltf-binary"
	}
	return ""
}

func soundType(ext string) string {
	switch ext {
	case "mp3":
		return "audio/mpeg"
	case "m4a", "m4b":
		return "audio/mp4"
	case "aac":
		return "audio/aac"
	case "ogg", "oga", "opus":
		return "audio/ogg"
	case "flac":
		return "audio/flac"
	case "wav":
		return "audio/wav"
	case "aif", "aiff", "aifc":
		return "audio/aiff"
	case "weba":
		return "audio/webm"
	case "wma":
		return "audio/x-ms-wma"
	case "amr":
		return "audio/amr"
	case "mid", "midi":
		return "audio/midi"
	case "m3u":
		return "audio/x-mpegurl"
	case "mp4", "m4v":
		return "video/mp4"
	case "webm":
		return "video/webm"
	case "mkv":
		return "video/matroska"
	case "mov", "qt":
		return "video/quicktime"
	case "avi":
		return "video/x-msvideo"
	case "mpg", "mpeg", "mpe":
		return "video/mpeg"
	case "ogv":
		return "video/ogg"
	case "wmv":
		return "video/x-ms-wmv"
	case "flv":
		return "video/x-flv"
	case "3gp":
		return "video/3gpp"
	case "3g2":
		return "video/3gpp2"
	case "mts", "m2ts":
		return "video/mp2t"
	case "mxf":
		return "application/mxf"
	case "m3u8":
		return "application/vnd.apple.mpegurl"
	case "mpd":
		return "application/dash+xml"
	case "woff", "woff2", "ttf", "otf":
		return "font/" + ext
	case "ttc":
		return "font/collection"
	case "eot":
		return "application/vnd.ms-fontobject"
	}
	return ""
}

func officeType(ext string) string {
	const (
		ooxml = "application/vnd.openxmlformats-officedocument."
		odf   = "application/vnd.oasis.opendocument."
	)
	switch ext {
	case "doc", "dot":
		return "application/msword"
	case "docx":
		return ooxml + "wordprocessingml.document"
	case "dotx":
		return ooxml + "wordprocessingml.template"
	case "xls", "xlt":
		return "application/vnd.ms-excel"
	case "xlsx":
		return ooxml + "spreadsheetml.sheet"
	case "xltx":
		return ooxml + "spreadsheetml.template"
	case "ppt", "pps":
		return "application/vnd.ms-powerpoint"
	case "pptx":
		return ooxml + "presentationml.presentation"
	case "ppsx":
		return ooxml + "presentationml.slideshow"
	case "docm":
		return "application/vnd.ms-word.document.macroenabled.12"
	case "xlsm":
		return "application/vnd.ms-excel.sheet.macroenabled.12"
	case "vsd":
		return "application/vnd.visio"
	case "mdb":
		return "application/vnd.ms-access"
	case "odt":
		return odf + "text"
	case "ods":
		return odf + "spreadsheet"
	case "odp":
		return odf + "presentation"
	case "odg":
		return odf + "graphics"
	case "epub":
		return "application/epub+zip"
	case "mobi":
		return "application/x-mobipocket-ebook"
	case "eml":
		return "message/rfc822"
	case "mbox":
		return "application/mbox"
	case "xps":
		return "application/vnd.ms-xpsdocument"
	}
	return ""
}

func archiveType(ext string) string {
	switch ext {
	case "zip":
		return "application/zip"
	case "gz", "tgz":
		return "application/gzip"
	case "bz2", "tbz2":
		return "application/x-bzip2"
	case "xz", "txz":
		return "application/x-xz"
	case "zst", "tzst":
		return "application/zstd"
	case "lz4":
		return "application/x-lz4"
	case "br":
		return "application/x-brotli"
	case "tar":
		return "application/x-tar"
	case "7z":
		return "application/x-7z-compressed"
	case "rar":
		return "application/vnd.rar"
	case "cpio":
		return "application/x-cpio"
	case "jar", "war":
		return "application/java-archive"
	case "apk":
		return "application/vnd.android.package-archive"
	case "deb":
		return "application/vnd.debian.binary-package"
	case "rpm":
		return "application/x-rpm"
	case "iso":
		return "application/x-iso9660-image"
	case "dmg":
		return "application/x-apple-diskimage"
	case "cab":
		return "application/vnd.ms-cab-compressed"
	case "msi":
		return "application/x-msi"
	case "bin", "dat", "img", "dump", "exe", "dll", "so", "o", "a", "class", "pyc", "bak":
		return "application/octet-stream"
	case "sig", "asc":
		return "application/pgp-signature"
	case "gpg", "pgp":
		return "application/pgp-encrypted"
	case "torrent":
		return "application/x-bittorrent"
	case "pcap":
		return "application/vnd.tcpdump.pcap"
	}
	return ""
}
