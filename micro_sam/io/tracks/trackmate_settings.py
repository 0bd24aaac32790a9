"""What a file of TrackMate holds besides spots and links; Fiji and other readers look for all of it.

Names and order are those of files that TrackMate 7.11 saves.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

_DISPLAY = {
    "name": "CurrentDisplaySettings",
    "spotUniformColor": "204, 51, 204, 255",
    "spotColorByType": "TRACKS",
    "spotColorByFeature": "TRACK_INDEX",
    "spotDisplayRadius": 1.0,
    "spotDisplayedAsRoi": True,
    "spotMin": 0.0,
    "spotMax": 10.0,
    "spotShowName": False,
    "trackMin": 0.0,
    "trackMax": 10.0,
    "trackColorByType": "TRACKS",
    "trackColorByFeature": "TRACK_INDEX",
    "trackUniformColor": "204, 204, 51, 255",
    "undefinedValueColor": "0, 0, 0, 255",
    "missingValueColor": "89, 89, 89, 255",
    "highlightColor": "51, 230, 51, 255",
    "trackDisplayMode": "FULL",
    "colormap": "Jet",
    "limitZDrawingDepth": False,
    "drawingZDepth": 10.0,
    "fadeTracks": True,
    "fadeTrackRange": 30,
    "useAntialiasing": True,
    "spotVisible": True,
    "trackVisible": True,
    "font": {"name": "Arial", "style": 1, "size": 12, "pointSize": 12.0, "fontSerializedDataVersion": 1},
    "lineThickness": 1.0,
    "selectionLineThickness": 4.0,
    "trackschemeBackgroundColor1": "128, 128, 128, 255",
    "trackschemeBackgroundColor2": "192, 192, 192, 255",
    "trackschemeForegroundColor": "0, 0, 0, 255",
    "trackschemeDecorationColor": "0, 0, 0, 255",
    "trackschemeFillBox": False,
    "spotFilled": False,
    "spotTransparencyAlpha": 1.0,
}


def add_settings(root: ET.Element, image: str, shape: tuple[int, int, int], scale: tuple[float, float, float]) -> None:
    """Add settings, state of the window and display to a file.

    Parameters
    ----------
    root : element
        ``TrackMate``.
    image : str
        Name of the file with the masks, beside this one; empty: none.
    shape : (T, Y, X)
    scale : (t, y, x)
        Size of a frame and a pixel in the units of the file.
    """
    n_frames, height, width = shape
    settings = ET.SubElement(root, "Settings")
    ET.SubElement(
        settings,
        "ImageData",
        filename=image,
        folder=".",  # beside this file; where that is on this computer is nobody's business
        width=str(width),
        height=str(height),
        nslices="1",
        nframes=str(n_frames),
        pixelwidth=repr(float(scale[2])),
        pixelheight=repr(float(scale[1])),
        voxeldepth="1.0",
        timeinterval=repr(float(scale[0])),
    )
    ends = {"xend": width - 1, "yend": height - 1, "zend": 0, "tend": n_frames - 1}
    area = {name: str(value) for end, last in ends.items() for name, value in ((f"{end[0]}start", 0), (end, last))}
    ET.SubElement(settings, "BasicSettings", area)
    ET.SubElement(settings, "DetectorSettings", DETECTOR_NAME="MANUAL_DETECTOR", RADIUS="5.0")
    ET.SubElement(settings, "InitialSpotFilter", feature="QUALITY", value="0.0", isabove="true")
    ET.SubElement(settings, "SpotFilterCollection")
    ET.SubElement(settings, "TrackerSettings", TRACKER_NAME="MANUAL_TRACKER")
    ET.SubElement(settings, "TrackFilterCollection")
    analyzers = ET.SubElement(settings, "AnalyzerCollection")
    for kind in ("SpotAnalyzers", "EdgeAnalyzers", "TrackAnalyzers"):
        ET.SubElement(analyzers, kind)
    ET.SubElement(root, "GUIState", state="ConfigureViews")
    ET.SubElement(root, "DisplaySettings").text = json.dumps(_DISPLAY, indent=2)
