"""Describe the point as a robot: two sliding joints, and a small sphere as what may not touch."""

BODY = 0.01
"""Radius of the point's collision geometry [m]; the world counts a contact where its middle is in an obstacle."""
URDF = f"""<?xml version="1.0"?>
<robot name="point">
  <link name="ground"/>
  <link name="slide"/>
  <link name="point">
    <collision><geometry><sphere radius="{BODY}"/></geometry></collision>
  </link>
  <joint name="point_x" type="prismatic">
    <parent link="ground"/>
    <child link="slide"/>
    <axis xyz="1 0 0"/>
    <limit lower="-1.0" upper="1.0" velocity="2.0" effort="15.0"/>
  </joint>
  <joint name="point_y" type="prismatic">
    <parent link="slide"/>
    <child link="point"/>
    <axis xyz="0 1 0"/>
    <limit lower="-1.0" upper="1.0" velocity="2.0" effort="15.0"/>
  </joint>
</robot>
"""
